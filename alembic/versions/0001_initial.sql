-- Tables of the first version. Columns only for what is locked, joined, filtered or unique; the rest is jsonb.

CREATE TABLE installation (
    only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    cluster_id uuid NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now()
);
INSERT INTO installation (cluster_id) VALUES (gen_random_uuid());

CREATE TABLE accounts (
    id uuid PRIMARY KEY,
    username text NOT NULL UNIQUE,
    role text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now()
);

-- Keys are random 256-bit values, so a plain SHA-256 is enough (RELIABILITY S7).
CREATE TABLE api_keys (
    key_hash bytea PRIMARY KEY,
    account_id uuid NOT NULL REFERENCES accounts ON DELETE CASCADE,
    name text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE nodes (
    id uuid PRIMARY KEY,
    name text NOT NULL UNIQUE,
    state text NOT NULL,
    tags text[] NOT NULL DEFAULT '{}',
    engine jsonb,
    session bigint NOT NULL DEFAULT 0,
    assignment_revision bigint NOT NULL DEFAULT 0,
    applied_revision bigint NOT NULL DEFAULT 0,
    last_seen timestamptz,
    created_at timestamptz NOT NULL DEFAULT now()
);

CREATE SEQUENCE subnet_number MINVALUE 0 START 0;

CREATE TABLE services (
    id uuid PRIMARY KEY,
    account_id uuid NOT NULL REFERENCES accounts,
    name text NOT NULL,
    unique_name text NOT NULL,
    image_name text NOT NULL,
    state text NOT NULL,
    target integer NOT NULL CHECK (target >= 0),
    want text NOT NULL,
    spec jsonb NOT NULL,
    operation jsonb,
    deploy_gen bigint NOT NULL,
    start_gen bigint NOT NULL,
    image jsonb,
    subnet text NOT NULL,
    waits_for text,
    look_at timestamptz,
    created_at timestamptz NOT NULL,
    deployed_at timestamptz,
    started_at timestamptz,
    stopped_at timestamptz,
    destroyed_at timestamptz
);
-- A terminated service frees its name at once (spec 2.4).
CREATE UNIQUE INDEX services_unique_name ON services (account_id, unique_name) WHERE want <> 'TERMINATED';
CREATE INDEX services_look_at ON services (look_at) WHERE look_at IS NOT NULL;
CREATE INDEX services_by_age ON services (account_id, created_at, id);
CREATE INDEX services_by_state ON services (account_id, state);
CREATE INDEX services_by_name ON services (account_id, name);
CREATE INDEX services_destroyed ON services (destroyed_at) WHERE destroyed_at IS NOT NULL;
CREATE UNIQUE INDEX services_subnet ON services (subnet) WHERE destroyed_at IS NULL;

-- Who links to whom, by row: the planner and `linked_from_service` need it from the target's side too.
CREATE TABLE links (
    from_service uuid NOT NULL REFERENCES services ON DELETE CASCADE,
    name text NOT NULL,
    to_service uuid NOT NULL REFERENCES services ON DELETE CASCADE,
    PRIMARY KEY (from_service, name)
);
CREATE INDEX links_target ON links (to_service);

CREATE TABLE containers (
    id uuid PRIMARY KEY,
    service_id uuid NOT NULL REFERENCES services ON DELETE CASCADE,
    account_id uuid NOT NULL,
    node_id uuid NOT NULL REFERENCES nodes,
    slot integer NOT NULL CHECK (slot > 0),
    name text NOT NULL,
    state text NOT NULL,
    spec jsonb NOT NULL,
    spec_digest text NOT NULL,
    made_from text NOT NULL,
    deploy_gen bigint NOT NULL,
    want text NOT NULL,
    start_gen bigint NOT NULL,
    autorestart text NOT NULL,
    networks jsonb NOT NULL,
    assigned_revision bigint NOT NULL,
    seen jsonb,
    seen_session bigint NOT NULL DEFAULT 0,
    seen_seq bigint NOT NULL DEFAULT 0,
    created_at timestamptz NOT NULL,
    terminated_at timestamptz
);
-- The backstop of I2a: whatever a planner says, one slot holds one container that may live.
CREATE UNIQUE INDEX containers_slot ON containers (service_id, slot) WHERE terminated_at IS NULL;
CREATE INDEX containers_node ON containers (node_id, assigned_revision);
CREATE INDEX containers_node_live ON containers (node_id) WHERE terminated_at IS NULL;
CREATE INDEX containers_by_age ON containers (account_id, created_at, id);
CREATE INDEX containers_terminated ON containers (terminated_at) WHERE terminated_at IS NOT NULL;

CREATE TABLE ports (
    node_id uuid NOT NULL REFERENCES nodes,
    protocol text NOT NULL,
    port integer NOT NULL,
    container_id uuid NOT NULL REFERENCES containers ON DELETE CASCADE,
    CONSTRAINT port_taken PRIMARY KEY (node_id, protocol, port)
);
CREATE INDEX ports_container ON ports (container_id);

CREATE TABLE image_requests (
    id uuid PRIMARY KEY,
    service_id uuid NOT NULL REFERENCES services ON DELETE CASCADE,
    node_id uuid NOT NULL REFERENCES nodes,
    reference text NOT NULL,
    pull text NOT NULL,
    image jsonb,
    error text,
    created_at timestamptz NOT NULL DEFAULT now(),
    answered_at timestamptz
);
CREATE INDEX image_requests_open ON image_requests (node_id) WHERE answered_at IS NULL;
CREATE INDEX image_requests_service ON image_requests (service_id);

CREATE TABLE actions (
    id uuid PRIMARY KEY,
    account_id uuid NOT NULL REFERENCES accounts,
    service_id uuid REFERENCES services ON DELETE CASCADE,
    verb text NOT NULL,
    object_uri text NOT NULL,
    state text NOT NULL,
    request jsonb NOT NULL,
    message text,
    start_date timestamptz NOT NULL,
    end_date timestamptz
);
CREATE INDEX actions_newest ON actions (account_id, start_date DESC, id);
CREATE INDEX actions_service ON actions (service_id, start_date DESC);
CREATE INDEX actions_object ON actions (account_id, object_uri, start_date DESC);
