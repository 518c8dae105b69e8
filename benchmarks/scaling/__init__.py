"""How the server scales: with concurrency, with the frame's size, with the number of streams that are open."""
