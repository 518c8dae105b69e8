"""What an MLOps engineer may change in the models' configurations, one change at a time against what ships."""
