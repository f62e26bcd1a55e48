"""How any long job runs: steps, states, memory, files, pictures."""
