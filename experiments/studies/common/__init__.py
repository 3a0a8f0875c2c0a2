"""What several studies share: raw rows, scores, tasks, case selection, cached policies."""
