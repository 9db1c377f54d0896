"""optuna-dashboard on a read-only snapshot of a study, with our figures and notes.

It listens on the loopback interface only, and changes no study."""
