"""What people say should not be: how rules, contacts and routes are checked, changed, tried and proposed."""
