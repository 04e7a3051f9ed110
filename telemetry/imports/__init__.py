"""The stores of the replaced programs, read: one module for each; `taking` stores what they bring."""
