# What .zshenv here begins: the values and the marks of one interactive zsh. ``__hold_key`` is the seed, 64 hexadecimal digits.

# ---- values: the ChaCha20 key stream of the seed, eight hexadecimal words of 64 bits a block; each is shown once, then spent ----

typeset -gaH __hold_seed=() __hold_values=()
typeset -giH __hold_at=-1 __hold_count=0
typeset -gH __hold_value= __hold_text= __hold_state= __hold_ps1= __hold_ps2=
typeset -giH __hold_status=0
() {
  emulate -L zsh
  local -i i
  for ((i = 1; i < 64; i += 8)); do
    __hold_seed+=($((16#${__hold_key[i+6,i+7]}${__hold_key[i+4,i+5]}${__hold_key[i+2,i+3]}${__hold_key[i,i+1]})))
  done
}

__hold_block() {
  emulate -L zsh
  setopt c_precedences
  local -i a=0x61707865 b=0x3320646e c=0x79622d32 d=0x6b206574 e=$__hold_seed[1] f=$__hold_seed[2] g=$__hold_seed[3] h=$__hold_seed[4]
  local -i i l=$__hold_seed[5] m=$__hold_seed[6] n=$__hold_seed[7] o=$__hold_seed[8] p=$1 q=0 r=0 s=0 M=0xffffffff
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
  local whole
  builtin printf -v whole '%08x%08x ' $(((a+0x61707865)&M)) $(((b+0x3320646e)&M)) $(((c+0x79622d32)&M)) $(((d+0x6b206574)&M)) \
    $(((e+__hold_seed[1])&M)) $(((f+__hold_seed[2])&M)) $(((g+__hold_seed[3])&M)) $(((h+__hold_seed[4])&M)) \
    $(((l+__hold_seed[5])&M)) $(((m+__hold_seed[6])&M)) $(((n+__hold_seed[7])&M)) $(((o+__hold_seed[8])&M)) \
    $(((p+$1)&M)) $((q)) $((r)) $((s))
  __hold_values=(${=whole})
}

__hold_next() {  # the next value, with its number, into __hold_value
  emulate -L zsh
  ((__hold_count / 8 == __hold_at)) || __hold_block $((__hold_at = __hold_count / 8))
  __hold_value=$__hold_count.$__hold_values[__hold_count%8+1]
  ((++__hold_count))
}

# ---- the marks ----

__hold_quoted() {  # $1 as it may stand in a mark, into __hold_text
  emulate -L zsh
  setopt extended_glob no_multibyte
  local text=${1[1,4096]} more= char whole= hex
  ((${#1} <= 4096)) || more=';cut=1'
  text=${text//\%/%25} text=${text//;/%3B} text=${text//$'\n'/%0A} text=${text//$'\t'/%09}
  if [[ $text == *[[:cntrl:]]* ]]; then
    for char in ${(s::)text}; do
      if [[ $char == [[:cntrl:]] ]]; then builtin printf -v hex %%%02X "'$char"; whole+=$hex; else whole+=$char; fi
    done
    text=$whole
  fi
  __hold_text=$text$more
}

__hold_first() { __hold_status=$? }  # runs first of all precmd functions

__hold_precmd() {  # runs last of them
  emulate -L zsh
  local ended=
  if [[ $__hold_state == run ]]; then
    __hold_next
    ended=$'\e]133;D;'$__hold_status';hold='$__hold_value$'\a'
  fi
  __hold_state=prompt
  __hold_quoted "$PWD"
  __hold_next
  builtin print -rn -- "$ended"$'\e]7;file://'"$HOST${__hold_text// /%20}"$'\a\e]133;A;hold='"$__hold_value;cwd=$__hold_text"$'\a' >$TTY
  # Whatever made PS1 anew keeps its work: only what stands behind it is ours. The values are for this prompt alone.
  PS1=${PS1%"$__hold_ps1"} PS2=${PS2%"$__hold_ps2"}
  __hold_next
  __hold_ps1=$'%{\e]133;B;hold='$__hold_value$'\a%}'
  __hold_next
  __hold_ps2=$'%{\e]133;P;k=c;hold='$__hold_value$'\a%}'
  PS1+=$__hold_ps1 PS2+=$__hold_ps2
  # Plugins come and go: stay first and last.
  if [[ $precmd_functions[1] != __hold_first || $precmd_functions[-1] != __hold_precmd ]]; then
    precmd_functions=(__hold_first ${precmd_functions:#__hold_(first|precmd)} __hold_precmd)
  fi
}

__hold_preexec() {
  emulate -L zsh
  __hold_next
  __hold_quoted "${1:-$3}"
  builtin print -rn -- $'\e]133;C;hold='"$__hold_value;cmdline_url=$__hold_text"$'\a' >$TTY
  __hold_state=run
}

typeset -ga precmd_functions preexec_functions
precmd_functions+=(__hold_first __hold_precmd)
preexec_functions+=(__hold_preexec)
