-- Services to be looked at, left by transactions that do not hold their locks (decision 24). Only added to: whoever
-- leaves one waits for nobody. A worker moves them to `services.look_at`.

-- No key and no reference, since both would have one transaction wait for, or write about, what others hold.
CREATE TABLE wakes (
    service_id uuid NOT NULL,
    at timestamptz NOT NULL DEFAULT clock_timestamp()
);
