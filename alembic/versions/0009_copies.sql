-- Definitions that hosts keep a copy of, for a rebuild without this database (decision 21). `copy_version` rises with
-- each change of what a copy holds; `copies_due` says which host has not been told the newest, by triggers, so that no
-- change can be forgotten by code.
CREATE SEQUENCE copy_version;
ALTER TABLE services ADD COLUMN copy_version bigint NOT NULL DEFAULT nextval('copy_version');
ALTER SEQUENCE copy_version OWNED BY services.copy_version;
ALTER TABLE installation ADD COLUMN rebuilding boolean NOT NULL DEFAULT false;
CREATE TABLE copies_due (
    node_id uuid NOT NULL REFERENCES nodes ON DELETE CASCADE,
    of uuid NOT NULL,
    version bigint NOT NULL,
    PRIMARY KEY (node_id, of)
);

CREATE FUNCTION tutela_copy_version() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.copy_version := nextval('copy_version');
    RETURN NEW;
END $$;
CREATE TRIGGER service_copy_version BEFORE UPDATE ON services FOR EACH ROW
    WHEN (OLD.copy_version = NEW.copy_version AND
        (OLD.name, OLD.target, OLD.want, OLD.spec, OLD.deploy_gen, OLD.start_gen, OLD.image, OLD.deployed_at,
            OLD.started_at, OLD.stopped_at) IS DISTINCT FROM
        (NEW.name, NEW.target, NEW.want, NEW.spec, NEW.deploy_gen, NEW.start_gen, NEW.image, NEW.deployed_at,
            NEW.started_at, NEW.stopped_at))
    EXECUTE FUNCTION tutela_copy_version();

CREATE FUNCTION tutela_copy_due(node uuid, what uuid) RETURNS void LANGUAGE sql AS $$
    INSERT INTO copies_due (node_id, of, version) VALUES (node, what, nextval('copy_version'))
    ON CONFLICT (node_id, of) DO UPDATE SET version = excluded.version
$$;

CREATE FUNCTION tutela_service_copy() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM tutela_copy_due(node_id, NEW.id) FROM (SELECT DISTINCT node_id FROM containers
        WHERE service_id = NEW.id AND terminated_at IS NULL ORDER BY node_id) n;
    RETURN NULL;
END $$;
CREATE TRIGGER service_copy AFTER UPDATE ON services FOR EACH ROW
    WHEN (OLD.copy_version <> NEW.copy_version) EXECUTE FUNCTION tutela_service_copy();

CREATE FUNCTION tutela_container_copy() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM tutela_copy_due(NEW.node_id, NEW.service_id);
    RETURN NULL;
END $$;
CREATE TRIGGER container_copy AFTER INSERT ON containers FOR EACH ROW EXECUTE FUNCTION tutela_container_copy();
CREATE TRIGGER container_copy_leaving AFTER UPDATE ON containers FOR EACH ROW
    WHEN (OLD.leaving <> NEW.leaving) EXECUTE FUNCTION tutela_container_copy();

CREATE FUNCTION tutela_node_copy() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM tutela_copy_due(NEW.id, NEW.id);
    RETURN NULL;
END $$;
CREATE TRIGGER node_copy AFTER UPDATE ON nodes FOR EACH ROW
    WHEN ((OLD.name, OLD.tags, OLD.nickname, OLD.public_ip, OLD.cordoned, OLD.accepted, OLD.credential_key)
        IS DISTINCT FROM
        (NEW.name, NEW.tags, NEW.nickname, NEW.public_ip, NEW.cordoned, NEW.accepted, NEW.credential_key))
    EXECUTE FUNCTION tutela_node_copy();
