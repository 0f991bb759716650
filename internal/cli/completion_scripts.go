package cli

// The scripts leave all to "jetpost __complete", so that they fit every version.

const bashScript = `# Completion of jetpost for bash: source <(jetpost completion bash)
_jetpost() {
    local cur=${COMP_WORDS[COMP_CWORD]} program=${COMP_WORDS[0]/#\~/$HOME} line
    [[ $cur == "=" ]] && cur=
    COMPREPLY=()
    while IFS= read -r line; do
        case $line in
            :files|:dirs)
                compopt -o filenames 2>/dev/null
                local kind=-f path
                [[ $line == :dirs ]] && kind=-d
                while IFS= read -r path; do COMPREPLY+=("$path"); done < <(compgen "$kind" -- "$cur")
                ;;
            *) COMPREPLY+=("${line%%$'\t'*}") ;;
        esac
    done < <("$program" __complete bash -- "${COMP_WORDS[@]:1:COMP_CWORD}" 2>/dev/null)
}
complete -F _jetpost jetpost
`

const zshScript = `#compdef jetpost
# Completion of jetpost for zsh: jetpost completion zsh > "${fpath[1]}/_jetpost"
_jetpost() {
    local line tab=$'\t'
    local -a candidates lines
    lines=("${(@f)$("${(Q)words[1]}" __complete zsh -- "${(@Q)words[2,CURRENT]}" 2>/dev/null)}")
    for line in $lines; do
        case $line in
            :files) compset -P '*='; _files; return ;;
            :dirs) compset -P '*='; _files -/; return ;;
            *$tab*) candidates+=("${${line%%$tab*}//:/\\:}:${line#*$tab}") ;;
            ?*) candidates+=("${line//:/\\:}") ;;
        esac
    done
    _describe -V jetpost candidates
}
if [[ ${funcstack[1]} == _jetpost ]]; then
    _jetpost "$@"
else
    compdef _jetpost jetpost
fi
`

const fishScript = `# Completion of jetpost for fish: jetpost completion fish > ~/.config/fish/completions/jetpost.fish
function __jetpost_complete
    set -l words (commandline -opc)
    set -l typed (commandline -ct)
    test (count $typed) -eq 0; and set typed ''
    for line in ($words[1] __complete fish -- $words[2..-1] $typed 2>/dev/null)
        switch $line
            case :files
                __fish_complete_path (string replace -r '^--[^=]*=' '' -- $typed)
            case :dirs
                __fish_complete_directories (string replace -r '^--[^=]*=' '' -- $typed)
            case '*'
                printf '%s\n' $line
        end
    end
end
complete -c jetpost -f -a '(__jetpost_complete)'
`
