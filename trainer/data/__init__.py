"""Where does text come from, and how does it become batches? No JAX in here."""
