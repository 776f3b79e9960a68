-- Which form the networks between containers have, and the engines' swarm.

-- `address` is what the node's agent found to be its own, `swarm` what it last said of its engine's swarm mode.
-- `swarm_role` is what it is to be there, `swarm_reset` the engine's identity in a swarm that it is to leave first.
-- `overlay`: its containers are on overlay networks; `network_note` says why not. `away_since`: since when the swarm's
-- keeper has known it as not being up.
ALTER TABLE nodes
    ADD COLUMN address text NOT NULL DEFAULT '',
    ADD COLUMN swarm jsonb,
    ADD COLUMN swarm_role text NOT NULL DEFAULT '',
    ADD COLUMN swarm_reset text NOT NULL DEFAULT '',
    ADD COLUMN overlay boolean NOT NULL DEFAULT false,
    ADD COLUMN network_note text NOT NULL DEFAULT '',
    ADD COLUMN away_since timestamptz;

-- The one swarm of the installation; none while `founder` is null. Its join token is sealed like passwords.
-- `lead` is the manager that carries out what is decided; `recover` the one that is to go on alone.
CREATE TABLE swarm (
    single boolean PRIMARY KEY DEFAULT true CHECK (single),
    founder uuid,
    cluster text NOT NULL DEFAULT '',
    worker_token bytea,
    lead uuid,
    recover uuid
);
INSERT INTO swarm DEFAULT VALUES;

-- Overlay networks of services, asked of the managers' agents: to be made while `made` and `gone` are false.
CREATE TABLE overlays (
    service_id uuid PRIMARY KEY,
    name text NOT NULL UNIQUE,
    subnet text NOT NULL,
    made boolean NOT NULL DEFAULT false,
    gone boolean NOT NULL DEFAULT false
);
CREATE INDEX overlays_open ON overlays (service_id) WHERE gone OR NOT made;
