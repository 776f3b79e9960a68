-- Which form the networks between containers have, and the engines' swarm.
SELECT 1;
