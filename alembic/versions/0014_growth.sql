-- What purges ask for: what is over, and whether something still points at a row that is to go.
CREATE INDEX actions_ended ON actions (end_date) WHERE end_date IS NOT NULL;
CREATE INDEX volumes_terminated ON volumes (terminated_at) WHERE terminated_at IS NOT NULL;
CREATE INDEX volumes_group ON volumes (group_id);
CREATE INDEX volumes_node ON volumes (node_id);
CREATE INDEX stacks_terminated ON stacks (terminated_at) WHERE terminated_at IS NOT NULL;
CREATE INDEX image_requests_node ON image_requests (node_id);
CREATE INDEX copies_due_of ON copies_due (of);

-- Copies of services that were purged before: no host is ever told of them.
DELETE FROM copies_due d
    WHERE d.of <> d.node_id AND NOT EXISTS (SELECT 1 FROM services s WHERE s.id = d.of);

-- Two nodes of each kind tell what others there are.
CREATE INDEX nodes_overlay ON nodes (overlay, id) WHERE state <> 'Terminated';

-- Who holds a port that a service asks for, on whichever node.
CREATE INDEX ports_number ON ports (protocol, port);

-- Containers by their name.
CREATE INDEX containers_by_name ON containers (account_id, name);
