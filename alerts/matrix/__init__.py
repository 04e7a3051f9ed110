"""The Matrix bot: notices out, commands in. One process, because the encryption store allows one.

`parsing`, `content` and `plot` are arithmetic on texts and numbers. `hearing`, `commands`, `asking` and
`sending` talk to the database and know no Matrix client. `session`, `homeserver`, `rooms`, `identity` and
`verification` talk to the homeserver. `bot` puts them together.
"""
