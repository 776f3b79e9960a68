-- Users and their keys, the audit log, pauses.
SELECT 1;
