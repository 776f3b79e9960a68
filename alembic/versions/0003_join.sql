-- Join tokens, the installation's certificate authority, the control planes that are up.

-- One authority for all control planes of the installation; its key is sealed with the installation's secret.
CREATE TABLE authority (
    only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    certificate text NOT NULL,
    sealed_key bytea NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now()
);

-- Secrets are random 128-bit values, so a plain SHA-256 is enough (RELIABILITY S7, S24).
CREATE TABLE join_tokens (
    secret_hash bytea PRIMARY KEY,
    created_by uuid REFERENCES accounts ON DELETE SET NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    expires_at timestamptz NOT NULL,
    uses_left integer NOT NULL CHECK (uses_left >= 0)
);

-- Processes that agents can reach. Rows of the dead are pruned by the living.
CREATE TABLE control_planes (
    id uuid PRIMARY KEY,
    agent_url text NOT NULL,
    last_seen timestamptz NOT NULL DEFAULT clock_timestamp()
);

-- `credential_key` is the SHA-256 of the public key that the node proves itself with, `joined_with` the token that
-- it joined by: the same host that asks again, since the answer was lost, gets the same node.
-- `served_by` is the control plane that holds the agent's session.
ALTER TABLE nodes
    ADD COLUMN credential_key bytea,
    ADD COLUMN joined_with bytea,
    ADD COLUMN credential_expires timestamptz,
    ADD COLUMN served_by uuid;
CREATE UNIQUE INDEX nodes_credential ON nodes (credential_key) WHERE credential_key IS NOT NULL;
CREATE INDEX nodes_engine ON nodes ((engine->>'engine_id'));
