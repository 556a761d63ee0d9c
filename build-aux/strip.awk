# SPDX-License-Identifier: MIT
# strip.awk - C without comments and string contents, each line as FILE:LINE:CODE.
FNR == 1 { in_comment = 0 }
{
    rest = $0
    code = ""
    if (rest ~ /^[ \t]*#[ \t]*include/) {
        print FILENAME ":" FNR ":" rest
        next
    }
    while (rest != "") {
        if (in_comment) {
            end = index(rest, "*/")
            if (!end)
                break
            rest = substr(rest, end + 2)
            in_comment = 0
        } else if (match(rest, /["']|\/\*|\/\//)) {
            mark = substr(rest, RSTART, RLENGTH)
            code = code substr(rest, 1, RSTART - 1)
            rest = substr(rest, RSTART)
            if (mark == "//")
                break
            if (mark == "/*") {
                in_comment = 1
                rest = substr(rest, 3)
            } else {
                # A pattern as an operand of ?: would be matched against the whole line.
                if (mark == "\"")
                    match(rest, /^"([^"\\]|\\.)*"/)
                else
                    match(rest, /^'([^'\\]|\\.)*'/)
                if (RLENGTH < 1)
                    RLENGTH = 1
                rest = substr(rest, RLENGTH + 1)
                code = code mark mark
            }
        } else {
            code = code rest
            rest = ""
        }
    }
    print FILENAME ":" FNR ":" code
}
