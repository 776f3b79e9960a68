-- Stacks: services with a common life. `operation_action` is the stack's own operation under way; it has
-- ended when that action has.
CREATE TABLE stacks (
    id uuid PRIMARY KEY,
    account_id uuid NOT NULL REFERENCES accounts,
    name text NOT NULL,
    nickname text,
    operation_verb text,
    operation_action uuid,
    created_at timestamptz NOT NULL,
    deployed_at timestamptz,
    terminated_at timestamptz
);
CREATE UNIQUE INDEX stacks_name ON stacks (account_id, lower(name)) WHERE terminated_at IS NULL;
CREATE INDEX stacks_by_age ON stacks (account_id, created_at, id);
CREATE INDEX stacks_by_name ON stacks (account_id, name);

ALTER TABLE services
    ADD COLUMN stack_id uuid REFERENCES stacks,
    ADD COLUMN queued jsonb;
CREATE INDEX services_stack ON services (stack_id) WHERE stack_id IS NOT NULL;
-- A unique name is unique among the services of one stack, and among those outside stacks (spec 2.4).
DROP INDEX services_unique_name;
CREATE UNIQUE INDEX services_unique_name ON services
    (account_id, unique_name, coalesce(stack_id, '00000000-0000-0000-0000-000000000000'))
    WHERE want <> 'TERMINATED';
-- Which services run an image, by its name without the tag too.
CREATE INDEX services_by_image ON services (account_id, image_name COLLATE "C") WHERE want <> 'TERMINATED';
-- Who looks again when a node comes or goes.
CREATE INDEX services_waiting ON services (id) WHERE waits_for IS NOT NULL;
-- Who mounts a service's volumes: asked when it is terminated.
CREATE INDEX services_bindings ON services USING gin ((spec->'bindings') jsonb_path_ops) WHERE want <> 'TERMINATED';

-- `operation`: the order under way for this one container; `refill`: when it is gone, its slot gets a new one;
-- `replaced`: when its predecessors in the slot were replaced by autoreplace, oldest first.
ALTER TABLE containers
    ADD COLUMN operation jsonb,
    ADD COLUMN refill boolean NOT NULL DEFAULT false,
    ADD COLUMN drop_volumes text[] NOT NULL DEFAULT '{}',
    ADD COLUMN replaced timestamptz[] NOT NULL DEFAULT '{}',
    ADD COLUMN autoreplace text NOT NULL DEFAULT 'OFF';

-- `parts`: how many services and containers still work for the action; it ends with the last of them.
ALTER TABLE actions
    ADD COLUMN parts integer NOT NULL DEFAULT 1,
    ADD COLUMN failed_parts integer NOT NULL DEFAULT 0;
CREATE INDEX actions_open ON actions (account_id) WHERE end_date IS NULL;

-- All containers of a service, those that ended lately too; the index on its live slots does not serve that.
CREATE INDEX containers_service ON containers (service_id, slot);
-- Who has a volume mounted.
CREATE INDEX containers_mounts ON containers USING gin ((spec->'mounts') jsonb_path_ops) WHERE terminated_at IS NULL;

CREATE TABLE action_logs (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    action_id uuid NOT NULL REFERENCES actions ON DELETE CASCADE,
    at timestamptz NOT NULL DEFAULT clock_timestamp(),
    line text NOT NULL
);
CREATE INDEX action_logs_action ON action_logs (action_id, id);

-- The uuid of a trigger is its secret (spec 4.10).
CREATE TABLE triggers (
    id uuid PRIMARY KEY,
    service_id uuid NOT NULL REFERENCES services ON DELETE CASCADE,
    name text NOT NULL,
    operation text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE INDEX triggers_service ON triggers (service_id, created_at);

-- Images that a user registered, with the credentials of their registry. `password` is encrypted.
CREATE TABLE images (
    id uuid PRIMARY KEY,
    account_id uuid NOT NULL REFERENCES accounts,
    name text NOT NULL,
    description text NOT NULL DEFAULT '',
    username text,
    password bytea,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    CONSTRAINT image_name UNIQUE (account_id, name)
);

-- One group a mount path of a service; one volume a slot in it. A volume is kept until its service is
-- terminated, so that a redeployment finds its data (spec 2.9).
CREATE TABLE volume_groups (
    id uuid PRIMARY KEY,
    account_id uuid NOT NULL REFERENCES accounts,
    service_id uuid NOT NULL REFERENCES services ON DELETE CASCADE,
    name text NOT NULL,
    path text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    terminated_at timestamptz
);
CREATE UNIQUE INDEX volume_groups_path ON volume_groups (service_id, path);
CREATE INDEX volume_groups_by_age ON volume_groups (account_id, created_at, id);
CREATE TABLE volumes (
    id uuid PRIMARY KEY,
    account_id uuid NOT NULL REFERENCES accounts,
    group_id uuid NOT NULL REFERENCES volume_groups ON DELETE CASCADE,
    node_id uuid NOT NULL REFERENCES nodes,
    slot integer NOT NULL,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    terminated_at timestamptz
);
CREATE UNIQUE INDEX volumes_slot ON volumes (group_id, slot) WHERE terminated_at IS NULL;
CREATE INDEX volumes_by_age ON volumes (account_id, created_at, id);

ALTER TABLE accounts ADD COLUMN password_hash text;
ALTER TABLE nodes ADD COLUMN nickname text;

-- What happened, in commit order of each object: the source of the event stream. Filled by triggers on the
-- tables, so that no change of a state can be forgotten by code.
CREATE TABLE events (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    account_id uuid,
    type text NOT NULL,
    action text NOT NULL,
    resource_uri text NOT NULL,
    parents text[] NOT NULL,
    state text NOT NULL,
    -- Ids are drawn before the commit: a reader that goes by them alone would miss a late one. It reads in the
    -- order (xid, id), and only what is older than every transaction under way.
    xid xid8 NOT NULL DEFAULT pg_current_xact_id(),
    at timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE INDEX events_order ON events (xid, id);
CREATE INDEX events_at ON events (at);

CREATE FUNCTION tutela_event(account uuid, kind text, act text, id uuid, parents text[], state text)
RETURNS void LANGUAGE sql AS $$
    INSERT INTO events (account_id, type, action, resource_uri, parents, state)
    VALUES (account, kind, act, '/api/v1/' || kind || '/' || id || '/', array_remove(parents, NULL), state);
    SELECT pg_notify('tutela_event', '');
$$;

CREATE FUNCTION tutela_uri(kind text, id uuid) RETURNS text LANGUAGE sql IMMUTABLE AS $$
    SELECT '/api/v1/' || kind || '/' || id || '/'
$$;

CREATE FUNCTION tutela_service_event() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'INSERT' OR OLD.state <> NEW.state OR OLD.target <> NEW.target OR OLD.spec <> NEW.spec THEN
        PERFORM tutela_event(NEW.account_id, 'service',
            CASE WHEN TG_OP = 'INSERT' THEN 'create'
                 WHEN NEW.destroyed_at IS NOT NULL AND OLD.destroyed_at IS NULL THEN 'delete' ELSE 'update' END,
            NEW.id, ARRAY[tutela_uri('stack', NEW.stack_id)], NEW.state);
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER service_event AFTER INSERT OR UPDATE ON services
    FOR EACH ROW EXECUTE FUNCTION tutela_service_event();

CREATE FUNCTION tutela_container_event() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'INSERT' OR OLD.state <> NEW.state THEN
        PERFORM tutela_event(NEW.account_id, 'container',
            CASE WHEN TG_OP = 'INSERT' THEN 'create' WHEN NEW.terminated_at IS NOT NULL THEN 'delete' ELSE 'update' END,
            NEW.id,
            ARRAY[tutela_uri('service', NEW.service_id),
                  tutela_uri('stack', (SELECT stack_id FROM services WHERE id = NEW.service_id)),
                  tutela_uri('node', NEW.node_id)],
            NEW.state);
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER container_event AFTER INSERT OR UPDATE ON containers
    FOR EACH ROW EXECUTE FUNCTION tutela_container_event();

CREATE FUNCTION tutela_action_event() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'INSERT' OR OLD.state <> NEW.state THEN
        PERFORM tutela_event(NEW.account_id, 'action', CASE WHEN TG_OP = 'INSERT' THEN 'create' ELSE 'update' END,
            NEW.id, ARRAY[NEW.object_uri], NEW.state);
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER action_event AFTER INSERT OR UPDATE ON actions
    FOR EACH ROW EXECUTE FUNCTION tutela_action_event();

-- Nodes belong to the installation, not to an account: account_id NULL, seen by everybody.
CREATE FUNCTION tutela_node_event() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'INSERT' OR OLD.state <> NEW.state OR OLD.tags <> NEW.tags THEN
        PERFORM tutela_event(NULL, 'node', CASE WHEN TG_OP = 'INSERT' THEN 'create' ELSE 'update' END,
            NEW.id, ARRAY[]::text[], NEW.state);
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER node_event AFTER INSERT OR UPDATE ON nodes
    FOR EACH ROW EXECUTE FUNCTION tutela_node_event();

-- A stack's state is derived from its services: what its row tells of is written by who writes the row.
