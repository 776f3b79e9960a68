-- When most hosts, and when all of them, were last silent at once: from then on each has its time to come back
-- (decision 27).
ALTER TABLE installation ADD COLUMN disrupted_at timestamptz, ADD COLUMN unheard_at timestamptz;
