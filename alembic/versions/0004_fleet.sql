-- What placement, lost nodes and drains need to know.

-- `live`, `reserved_memory` (MB) and `reserved_cpu` (shares) are kept by the passes that place and forget containers,
-- so that a placement reads nodes and never all containers. `failures`: starts that failed there lately.
-- `drain_action`: the drain under way.
ALTER TABLE nodes
    ADD COLUMN cordoned boolean NOT NULL DEFAULT false,
    ADD COLUMN drain_action uuid,
    ADD COLUMN public_ip text NOT NULL DEFAULT '',
    ADD COLUMN terminated_at timestamptz,
    ADD COLUMN live integer NOT NULL DEFAULT 0,
    ADD COLUMN reserved_memory bigint NOT NULL DEFAULT 0,
    ADD COLUMN reserved_cpu bigint NOT NULL DEFAULT 0,
    ADD COLUMN failures jsonb;
UPDATE nodes n SET live = c.live, reserved_memory = c.memory, reserved_cpu = c.shares
    FROM (SELECT node_id, count(*) AS live, coalesce(sum((spec->>'memory')::bigint), 0) AS memory,
              coalesce(sum((spec->>'cpu_shares')::bigint), 0) AS shares
          FROM containers WHERE terminated_at IS NULL GROUP BY node_id) c
    WHERE c.node_id = n.id;
UPDATE nodes SET terminated_at = now() WHERE state = 'Terminated';
CREATE INDEX nodes_draining ON nodes (id) WHERE drain_action IS NOT NULL;

-- A container that leaves its slot, because its node is lost or drained, may have a successor beside it.
ALTER TABLE containers ADD COLUMN leaving boolean NOT NULL DEFAULT false, ADD COLUMN placement jsonb;
DROP INDEX containers_slot;
CREATE UNIQUE INDEX containers_slot ON containers (service_id, slot) WHERE terminated_at IS NULL AND NOT leaving;

-- Who gets a container on a node that joins.
CREATE INDEX services_every_node ON services (id)
    WHERE spec->>'deployment_strategy' = 'EVERY_NODE' AND want = 'RUNNING';
-- Since when a service waits for something.
ALTER TABLE services ADD COLUMN waits_since timestamptz;
