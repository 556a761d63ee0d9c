#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# gen-source.sh c|cxx - print a source file that keeps a compiler's memory busy: some 2000 lines of
# C, or C++ with templates and the standard library. The same text each time.
set -eu

c_source() {
    echo '#include <stdio.h>'
    echo '#include <string.h>'
    local i
    for ((i = 0; i < 110; i++)); do
        cat <<END
struct rec$i { int key, len; double w[$((i % 7 + 1))]; struct rec$i *next; };
static int
step$i(struct rec$i *r, const unsigned char *s, int n)
{
    int sum = $i;
    for (int k = 0; k < n; k++) {
        switch ((s[k] + $i) % $((i % 11 + 3))) {
        case 0: sum += s[k] * $((i + 3)); break;
        case 1: sum ^= (int)((unsigned)sum << 5) + $((i * 31)); break;
        case 2: r->w[k % $((i % 7 + 1))] += sum / ($((i + 1)).0 + k); break;
        default: sum -= r->len > k ? r->key : k;
        }
        if (r->next && sum % $((i + 2)) == 0)
            r = r->next;
    }
    return sum + (int)r->w[0];
}
END
    done
    echo 'int main(int argc, char **argv) {'
    echo '    const unsigned char *s = (const unsigned char *)argv[argc - 1];'
    echo '    int n = (int)strlen(argv[argc - 1]), t = 0;'
    for ((i = 0; i < 110; i++)); do
        echo "    struct rec$i a$i = {$i, n, {0}, 0}, b$i = {n, $i, {1}, &a$i};"
        echo "    t += step$i(&b$i, s, n);"
    done
    printf '%s\n' '    printf("%d\n", t); return 0; }'
}

cxx_source() {
    local i function_count=20
    cat <<'END'
#include <algorithm>
#include <functional>
#include <iostream>
#include <map>
#include <memory>
#include <regex>
#include <string>
#include <tuple>
#include <unordered_map>
#include <variant>
#include <vector>
template <int N> struct Fib {
    static constexpr long value = Fib<N - 1>::value + Fib<N - 2>::value;
};
template <> struct Fib<0> { static constexpr long value = 0; };
template <> struct Fib<1> { static constexpr long value = 1; };
template <class... T> struct Sum {
    template <std::size_t... I>
    static long of(const std::tuple<T...> &t, std::index_sequence<I...>) {
        return (0L + ... + long(std::get<I>(t)));
    }
};
template <int N, class V> struct Node {
    V value;
    std::unique_ptr<Node<N - 1, std::pair<V, int>>> next;
    long walk() const { return N + (next ? next->walk() : 0); }
};
template <class V> struct Node<0, V> { V value; long walk() const { return 0; } };
END
    for ((i = 0; i < function_count; i++)); do
        cat <<END
struct T$i {
    int a;
    std::string s;
    bool operator<(const T$i &o) const { return std::tie(a, s) < std::tie(o.a, o.s); }
};
long f$i(int n) {
    std::map<T$i, std::vector<std::variant<int, std::string, double>>> m;
    std::unordered_map<std::string, std::function<long(int)>> calls;
    for (int k = 0; k < n; k++) {
        m[T$i{k % $((i + 5)), std::to_string(k)}].emplace_back(k * 0.5);
        calls["c" + std::to_string(k % 9)] = [k, &m](int x) { return long(m.size()) + x * k; };
    }
    long sum = Fib<$((i + 20))>::value + Node<$((i % 9 + 1)), int>{}.walk();
    for (auto &[key, vec] : m) sum += key.a + long(vec.size());
    for (auto &[name, call] : calls) sum += call($i) + long(name.size());
    auto t = std::make_tuple(1, 2L, char($i), short(n));
    return sum + Sum<int, long, char, short>::of(t, std::make_index_sequence<4>{});
}
END
    done
    echo 'int main() { long t = 0;'
    for ((i = 0; i < function_count; i++)); do echo "    t += f$i($((i * 7 + 30)));"; done
    echo '    std::regex re("([a-z]+)-([0-9]+)"); std::smatch m; std::string s = "huge-2048";'
    echo '    std::cout << t << std::regex_match(s, m, re) << m[2] << std::endl; }'
}

case ${1:-} in
    c) c_source ;;
    cxx) cxx_source ;;
    *) echo "usage: gen-source.sh c|cxx" >&2; exit 99 ;;
esac
