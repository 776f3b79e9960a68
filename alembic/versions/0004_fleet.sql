-- What placement, lost nodes and drains need to know.
SELECT 1;
