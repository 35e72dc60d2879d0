"""Using trained models: prediction, explanation, generation, serving."""
