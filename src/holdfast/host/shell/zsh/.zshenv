# Have an interactive zsh (5.1 or newer) say where prompts and commands begin and end: docs/shell-integration.md.
# Zsh comes here through ZDOTDIR, which is put back at once: from here on it reads the user's own files by itself.

if [[ -n ${HOLDFAST_ZDOTDIR+x} ]]; then export ZDOTDIR=$HOLDFAST_ZDOTDIR; else unset ZDOTDIR; fi
unset HOLDFAST_ZDOTDIR
if [[ -n ${HOLDFAST_MARKS-} ]]; then
  # The seed of this shell's values comes on a descriptor, is wiped there and closed: no child ever has it.
  typeset -gH __hold_key=
  { IFS= read -r __hold_key <&$HOLDFAST_MARKS && : >|/dev/fd/$HOLDFAST_MARKS; eval "exec $HOLDFAST_MARKS<&-" } 2>/dev/null
fi
unset HOLDFAST_MARKS

if [[ -o interactive && ${#__hold_key} == 64 && ${__hold_key-} != *[^0-9a-f]* ]]; then
  source "${${(%):-%x}:A:h}/hold.zsh"
fi
unset __hold_key

if [[ -r ${ZDOTDIR-$HOME}/.zshenv ]]; then source "${ZDOTDIR-$HOME}/.zshenv"; fi
