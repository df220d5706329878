
set edit:completion:arg-completer[perstack] = { |@words|
    var index = (count $words)
    set index = (- $index 1)

    put (env _CLAP_IFS="\n" _CLAP_COMPLETE_INDEX=(to-string $index) PERSTACK_COMPLETE="elvish" perstack -- $@words) | to-lines
}

