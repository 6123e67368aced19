# placeholder targets are not kept here: each target is written with the capability it runs
