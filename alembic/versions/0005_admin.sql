-- Users and their keys, the audit log, pauses.

-- A user that was deleted stays as a row as long as its record is kept; its name is free at once.
UPDATE accounts SET role = 'member' WHERE role NOT IN ('admin', 'member', 'read-only');
ALTER TABLE accounts
    ADD COLUMN disabled_at timestamptz,
    ADD COLUMN deleted_at timestamptz,
    ADD CONSTRAINT known_role CHECK (role IN ('admin', 'member', 'read-only'));
ALTER TABLE accounts DROP CONSTRAINT accounts_username_key;
CREATE UNIQUE INDEX accounts_username ON accounts (username) WHERE deleted_at IS NULL;

-- The row of a deleted user stays, so a foreign key alone does not keep a service from being made for it meanwhile.
CREATE FUNCTION tutela_owner_is_there() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM 1 FROM accounts WHERE id = NEW.account_id AND deleted_at IS NULL FOR KEY SHARE;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'the user was deleted' USING ERRCODE = 'foreign_key_violation';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER service_owner BEFORE INSERT ON services FOR EACH ROW EXECUTE FUNCTION tutela_owner_is_there();

-- `scope` bounds what a key may do, below its owner's role. `last_used_at` is written at most once a minute.
ALTER TABLE api_keys
    ADD COLUMN id uuid NOT NULL DEFAULT gen_random_uuid() UNIQUE,
    ADD COLUMN scope text NOT NULL DEFAULT 'admin' CHECK (scope IN ('admin', 'member', 'read-only')),
    ADD COLUMN expires_at timestamptz,
    ADD COLUMN last_used_at timestamptz;
CREATE INDEX api_keys_account ON api_keys (account_id, created_at, id);

-- One row for each request that changes something, and for what else an operator must be able to trace (S30).
-- No foreign keys: it outlives what it tells of.
CREATE TABLE audit (
    id uuid PRIMARY KEY,
    at timestamptz NOT NULL DEFAULT clock_timestamp(),
    request_id text NOT NULL,
    account_id uuid,
    username text NOT NULL,
    via text NOT NULL,
    key_id uuid,
    ip text NOT NULL,
    verb text NOT NULL,
    object_uri text NOT NULL,
    method text NOT NULL,
    path text NOT NULL,
    status integer NOT NULL,
    action_id uuid,
    detail text NOT NULL
);
CREATE INDEX audit_newest ON audit (at DESC, id);
CREATE INDEX audit_user ON audit (username, at DESC);
CREATE INDEX audit_object ON audit (object_uri, at DESC);

CREATE FUNCTION tutela_audit_stays() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'DELETE' AND OLD.at < now() - interval '90 days' THEN
        RETURN OLD;
    END IF;
    RAISE EXCEPTION 'the audit log is only added to';
END $$;
CREATE TRIGGER audit_rows_stay BEFORE UPDATE OR DELETE ON audit FOR EACH ROW EXECUTE FUNCTION tutela_audit_stays();
CREATE TRIGGER audit_stays BEFORE TRUNCATE ON audit FOR EACH STATEMENT EXECUTE FUNCTION tutela_audit_stays();

-- Paused: since when, and by whom. A paused service gets no passes; a paused node is told nothing new.
ALTER TABLE installation ADD COLUMN paused_at timestamptz, ADD COLUMN paused_by text;
ALTER TABLE services ADD COLUMN paused_at timestamptz, ADD COLUMN paused_by text;
ALTER TABLE nodes ADD COLUMN paused_at timestamptz, ADD COLUMN paused_by text;
DROP INDEX services_look_at;
CREATE INDEX services_look_at ON services (look_at) WHERE look_at IS NOT NULL AND paused_at IS NULL;
CREATE INDEX services_paused ON services (id) WHERE paused_at IS NOT NULL;
