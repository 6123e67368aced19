"""Who is in the swarm, and alive: static, swim."""
