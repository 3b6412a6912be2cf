# Have an interactive fish (3.1 or newer) say where prompts and commands begin and end: docs/shell-integration.md.
# Fish reads this with --init-command, after all of the user's own files.

if status is-interactive; and set -q HOLDFAST_MARKS
    # The seed of this shell's values comes on a descriptor and is wiped there: fish cannot close it, but children find it empty.
    read -g __hold_key __hold_digest </dev/fd/$HOLDFAST_MARKS
    true >/dev/fd/$HOLDFAST_MARKS
end
set -e HOLDFAST_MARKS

if string match -qr '^[0-9a-f]{64}$' -- "$__hold_key"; and test -x "$__hold_digest"
    set -g __hold_count 0
    set -g __hold_values
    set -g __hold_ran ''
    set -g __hold_next_prompt ''

    # Values: the SHA-512 of the seed and the number of a block, eight words of 64 bits a block; each is shown once, then
    # spent. Fish has no arithmetic for it, so coreutils computes, once for every two commands.
    function __hold_next --description 'the next value, with its number, into __hold_value'
        if not set -q __hold_values[1]
            printf '%s:%d' $__hold_key (math $__hold_count / 8) | $__hold_digest | read -l block rest
            set -g __hold_values (string match -ar '.{16}' -- "$block")
        end
        set -g __hold_value $__hold_count.$__hold_values[1]
        set -e __hold_values[1]
        set -g __hold_count (math $__hold_count + 1)
    end

    function __hold_prompt --on-event fish_prompt
        if not functions -q __hold_fish_prompt; or not string match -q '*__hold_next_prompt*' -- (functions fish_prompt)
            functions -e __hold_fish_prompt
            functions -c fish_prompt __hold_fish_prompt
            function fish_prompt
                __hold_fish_prompt
                printf '\e]133;B;hold=%s\a' $__hold_next_prompt
            end
        end
        set -l cwd (string escape --style=url -- $PWD)
        __hold_next
        printf '\e]7;file://%s%s\a\e]133;A;hold=%s;cwd=%s\a' "$hostname" "$cwd" $__hold_value "$cwd"
        __hold_next
        set -g __hold_next_prompt $__hold_value
    end

    function __hold_preexec --on-event fish_preexec
        set -l text (string sub -l 4096 -- $argv[1] | string collect)
        set -l cut ''
        test "$text" = "$argv[1]"; or set cut ';cut=1'
        __hold_next
        printf '\e]133;C;hold=%s;cmdline_url=%s%s\a' $__hold_value (string escape --style=url -- "$text") "$cut"
    end

    function __hold_postexec --on-event fish_postexec
        set -l code $status
        __hold_next
        printf '\e]133;D;%s;hold=%s\a' $code $__hold_value
    end
else
    set -e __hold_key
end
