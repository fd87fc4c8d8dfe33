"""How exported detectors pool regions: tables of RoIs, the choice of a level, and what joins the levels."""
