# Have an interactive bash (4.4 or newer) say where prompts and commands begin and end: docs/shell-integration.md.
# Bash reads this instead of the user's startup files, and it reads those itself, just as bash would have.

__hold_key=
if [[ -n ${HOLDFAST_MARKS-} ]]; then
  # The seed of this shell's values comes on a descriptor, is wiped there and closed: no child ever has it.
  { IFS= read -r __hold_key <&"$HOLDFAST_MARKS" && : >"/dev/fd/$HOLDFAST_MARKS"; eval "exec $HOLDFAST_MARKS<&-"; } 2>/dev/null
fi
unset HOLDFAST_MARKS

# ---- values: the ChaCha20 key stream of the seed, eight hexadecimal words of 64 bits a block; each is shown once, then spent ----

__hold_block() {
  local -i a=0x61707865 b=0x3320646e c=0x79622d32 d=0x6b206574 e=__hold_seed[0] f=__hold_seed[1] g=__hold_seed[2] h=__hold_seed[3]
  local -i i l=__hold_seed[4] m=__hold_seed[5] n=__hold_seed[6] o=__hold_seed[7] p=$1 q=0 r=0 s=0 M=0xffffffff
  for ((i = 0; i < 10; i++)); do ((
    a=(a+e)&M, p^=a, p=(p<<16|p>>16)&M, l=(l+p)&M, e^=l, e=(e<<12|e>>20)&M, a=(a+e)&M, p^=a, p=(p<<8|p>>24)&M, l=(l+p)&M, e^=l, e=(e<<7|e>>25)&M,
    b=(b+f)&M, q^=b, q=(q<<16|q>>16)&M, m=(m+q)&M, f^=m, f=(f<<12|f>>20)&M, b=(b+f)&M, q^=b, q=(q<<8|q>>24)&M, m=(m+q)&M, f^=m, f=(f<<7|f>>25)&M,
    c=(c+g)&M, r^=c, r=(r<<16|r>>16)&M, n=(n+r)&M, g^=n, g=(g<<12|g>>20)&M, c=(c+g)&M, r^=c, r=(r<<8|r>>24)&M, n=(n+r)&M, g^=n, g=(g<<7|g>>25)&M,
    d=(d+h)&M, s^=d, s=(s<<16|s>>16)&M, o=(o+s)&M, h^=o, h=(h<<12|h>>20)&M, d=(d+h)&M, s^=d, s=(s<<8|s>>24)&M, o=(o+s)&M, h^=o, h=(h<<7|h>>25)&M,
    a=(a+f)&M, s^=a, s=(s<<16|s>>16)&M, n=(n+s)&M, f^=n, f=(f<<12|f>>20)&M, a=(a+f)&M, s^=a, s=(s<<8|s>>24)&M, n=(n+s)&M, f^=n, f=(f<<7|f>>25)&M,
    b=(b+g)&M, p^=b, p=(p<<16|p>>16)&M, o=(o+p)&M, g^=o, g=(g<<12|g>>20)&M, b=(b+g)&M, p^=b, p=(p<<8|p>>24)&M, o=(o+p)&M, g^=o, g=(g<<7|g>>25)&M,
    c=(c+h)&M, q^=c, q=(q<<16|q>>16)&M, l=(l+q)&M, h^=l, h=(h<<12|h>>20)&M, c=(c+h)&M, q^=c, q=(q<<8|q>>24)&M, l=(l+q)&M, h^=l, h=(h<<7|h>>25)&M,
    d=(d+e)&M, r^=d, r=(r<<16|r>>16)&M, m=(m+r)&M, e^=m, e=(e<<12|e>>20)&M, d=(d+e)&M, r^=d, r=(r<<8|r>>24)&M, m=(m+r)&M, e^=m, e=(e<<7|e>>25)&M
  )); done
  builtin printf -v __hold_values '%08x%08x ' $(((a+0x61707865)&M)) $(((b+0x3320646e)&M)) $(((c+0x79622d32)&M)) $(((d+0x6b206574)&M)) \
    $(((e+__hold_seed[0])&M)) $(((f+__hold_seed[1])&M)) $(((g+__hold_seed[2])&M)) $(((h+__hold_seed[3])&M)) \
    $(((l+__hold_seed[4])&M)) $(((m+__hold_seed[5])&M)) $(((n+__hold_seed[6])&M)) $(((o+__hold_seed[7])&M)) \
    $(((p+$1)&M)) $((q)) $((r)) $((s))
}

__hold_next() {  # the next value, with its number, into __hold_value
  ((__hold_count >> 3 == __hold_at)) || __hold_block $((__hold_at = __hold_count >> 3))
  __hold_value=$__hold_count.${__hold_values:(__hold_count & 7) * 17:16}
  ((++__hold_count))
}

# ---- the marks ----

__hold_quoted() {  # $1 as it may stand in a mark, into __hold_text
  local text=${1:0:4096} LC_ALL=C more=
  ((${#1} <= 4096)) || more=';cut=1'
  text=${text//%/%25} text=${text//;/%3B} text=${text//$'\n'/%0A} text=${text//$'\t'/%09}
  if [[ $text == *[[:cntrl:]]* ]]; then
    local -i at; local char hex whole=
    for ((at = 0; at < ${#text}; at++)); do
      char=${text:at:1}
      if [[ $char == [[:cntrl:]] ]]; then builtin printf -v hex %%%02X "'$char"; whole+=$hex; else whole+=$char; fi
    done
    text=$whole
  fi
  __hold_text=$text$more
}

__hold_prompt() {  # runs last of all prompt commands
  {
    local __hold_status=$? __hold_text= -
    set +eux
    local IFS=$' \t\n' ended=
    if ((__hold_ran)); then
      ((__hold_count += __hold_ran - 1))  # lines pasted at once run without a prompt between them
      __hold_next
      ended=$'\e]133;D;'$__hold_status';hold='$__hold_value$'\a'
    fi
    __hold_ran=0
    __hold_quoted "$PWD"
    __hold_next
  } 2>/dev/null
  builtin printf '%s\e]7;file://%s%s\a\e]133;A;hold=%s;cwd=%s\a' "$ended" "$HOSTNAME" "${__hold_text// /%20}" "$__hold_value" "$__hold_text" >&2
  # Whatever made PS1 anew keeps its work: only what stands behind it is ours. The values are for this prompt alone.
  PS1=${PS1-} PS2=${PS2-} PS0=${PS0-}
  PS1=${PS1%"$__hold_ps1"} PS2=${PS2%"$__hold_ps2"} PS0=${PS0%"$__hold_ps0"}
  __hold_next
  __hold_ps1='\[\e]133;B;hold='$__hold_value'\a\]'
  __hold_next
  __hold_ps2='\[\e]133;P;k=c;hold='$__hold_value'\a\]'
  __hold_next
  __hold_number=$HISTCMD
  __hold_ps0='${__hold_none[__hold_ran++,0]}$(__hold_command)'
  PS1+=$__hold_ps1 PS2+=$__hold_ps2 PS0+=$__hold_ps0
}

__hold_command() {  # in a subshell, of PS0; __hold_value is for the first command since the prompt
  {
    local -
    set +eux
    local line __hold_text= HISTTIMEFORMAT= IFS=$' \t\n'
    if ((__hold_ran > 1)); then
      ((__hold_count += __hold_ran - 2))
      __hold_next
    fi
    # A line that was put into the history stands there exactly. If the number is the same it was not (a leading space).
    if ((HISTCMD != __hold_number || __hold_ran > 1)) && ((BASH_VERSINFO[0] > 4)); then
      line=$(builtin history 1)
      if [[ $line =~ ^[[:space:]]*[0-9]+[*[:space:]][[:space:]](.*)$ ]]; then
        __hold_quoted "${BASH_REMATCH[1]}"
        __hold_text=';cmdline_url='$__hold_text
      fi
    fi
  } 2>/dev/null
  builtin printf '\e]133;C;hold=%s%s\a' "$__hold_value" "$__hold_text"
}

# ---- what bash would have read ----

if [[ -n ${HOLDFAST_LOGIN-} ]]; then  # as `bash --posix --login`, which reads this alone; it becomes what was asked for
  unset ENV
  [[ -z ${HOLDFAST_ENV+x} ]] || export ENV=$HOLDFAST_ENV
  set +o posix
  shopt -u inherit_errexit 2>/dev/null
  [[ ${HISTFILE-} != ~/.sh_history ]] || HISTFILE=~/.bash_history
  unset HOLDFAST_LOGIN HOLDFAST_ENV
  if [[ -r /etc/profile ]]; then . /etc/profile; fi
  if [[ -r ~/.bash_profile ]]; then . ~/.bash_profile
  elif [[ -r ~/.bash_login ]]; then . ~/.bash_login
  elif [[ -r ~/.profile ]]; then . ~/.profile
  fi
else
  if [[ -r ~/.bashrc ]]; then . ~/.bashrc; fi
fi

# ---- from the first prompt on ----

if [[ $__hold_key =~ ^[0-9a-f]{64}$ ]] && ((BASH_VERSINFO[0] * 100 + BASH_VERSINFO[1] >= 404)); then
  __hold_seed=() __hold_values= __hold_at=-1 __hold_count=0 __hold_ran=0 __hold_none=('') __hold_ps0= __hold_ps1= __hold_ps2=
  while [[ -n $__hold_key ]]; do
    __hold_seed+=($((0x${__hold_key:6:2}${__hold_key:4:2}${__hold_key:2:2}${__hold_key:0:2})))
    __hold_key=${__hold_key:8}
  done
  if ((BASH_VERSINFO[0] * 100 + BASH_VERSINFO[1] >= 501)); then
    PROMPT_COMMAND=("${PROMPT_COMMAND[@]-}" __hold_prompt)  # never the first: whoever sets it as a name sets that one
  else
    PROMPT_COMMAND='__hold_status=$?'${PROMPT_COMMAND:+$'\n'$PROMPT_COMMAND}$'\n''(exit $__hold_status); __hold_prompt'
  fi
fi
unset __hold_key
