complete --keep-order --exclusive --command perstack --arguments "(PERSTACK_COMPLETE=fish perstack -- (commandline --current-process --tokenize --cut-at-cursor) (commandline --current-token))"
