-- Nodes that are left alone until an operator says what is right (domain/quarantine.py).

-- `lineage` is the line of the record in which revisions count; a restore from a backup begins a new one and notes
-- the old one, and in `nodes.restored_revision` how far it was.
ALTER TABLE installation
    ADD COLUMN lineage uuid NOT NULL DEFAULT gen_random_uuid(),
    ADD COLUMN restored_from uuid,
    ADD COLUMN restored_at timestamptz;

-- `accepted` is the identity of the engine that counts as the node's own, empty before it was first heard. `ahead` is
-- what its agent was told by a newer record than this one, `strangers` what it asks about, `word` what an operator
-- last answered.
ALTER TABLE nodes
    ADD COLUMN accepted text NOT NULL DEFAULT '',
    ADD COLUMN ahead jsonb,
    ADD COLUMN strangers jsonb,
    ADD COLUMN word text NOT NULL DEFAULT '',
    ADD COLUMN restored_revision bigint NOT NULL DEFAULT 0;
