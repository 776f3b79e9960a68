-- Which container of its slot, on its node, ends before this one starts (decision 29).
ALTER TABLE containers ADD COLUMN follows uuid;
