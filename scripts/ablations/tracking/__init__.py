"""How far a study is, how long it will take, and its export to trackers. It imports `config` and below."""
