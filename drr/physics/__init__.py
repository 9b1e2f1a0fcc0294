"""From line integrals to grey levels: materials, spectrum, scatter, detector, display."""
