"""The ground floor that everybody stands on: errors, files, runs, configs, devices, and radiographs on disk."""
