"""Learning solution operators: recipe, residuals, training and solution of families of problems."""
