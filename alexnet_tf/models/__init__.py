"""A preset becomes a Keras model, and its weights."""
