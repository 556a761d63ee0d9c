#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# perl.sh - perl: large hashes, sorting, regular expressions, strings that grow, a tree that is
# built and dropped.
. "$(dirname "$0")/lib.sh"
need perl

cat >"$tmp/work.pl" <<'PERL'
use strict; use warnings;
my $seed = 42;
sub rnd { $seed = ($seed * 1103515245 + 12345) & 0x7fffffff; return $seed % $_[0] }

my %h;
for my $i (1 .. 300_000) { $h{"key " . rnd(1_000_000)} .= chr(97 + $i % 26) x (1 + rnd(40)) }
delete $h{$_} for grep { length($h{$_}) % 3 == 0 } sort keys %h;
print scalar(keys %h), "\n";
my @by_len = sort { length($h{$a}) <=> length($h{$b}) || $a cmp $b } keys %h;
print "$_ $h{$_}\n" for @by_len[-50 .. -1];

my $text = join "\n", map {
    sprintf "%05d host-%d.example GET /p%d/%s 200", $_, rnd(99), rnd(9), "x" x rnd(60)
} 1 .. 60_000;
my %hits;
$hits{$1}{$2}++ while $text =~ m{host-(\d+)\.example GET /p(\d)/x+ 200}g;
for my $host (sort { $a <=> $b } keys %hits) {
    print "$host: @{[ map { $hits{$host}{$_} // 0 } 0 .. 8 ]}\n";
}
(my $swapped = $text) =~ s/host-(\d+)\.(\w+)/$2-$1/g;
print unpack("%32C*", $swapped), " ", length($swapped), "\n";

my $grow = "";
$grow .= pack("NnC", rnd(1 << 30), $_ & 0xffff, $_ & 0xff) for 1 .. 400_000;
print unpack("%32C*", $grow), "\n";
for my $round (1 .. 3) {
    my $tree;
    for (1 .. 40_000) {
        my ($ref, $k) = (\$tree, rnd(1 << 30));
        $ref = \($$ref->[$k < $$ref->[2] ? 0 : 1]) while $$ref;
        $$ref = [undef, undef, $k];
    }
    my $depth = 0;
    my @todo = ([$tree, 1]);
    while (my $t = pop @todo) {
        my ($n, $d) = @$t;
        next unless $n;
        $depth = $d if $d > $depth;
        push @todo, [$n->[0], $d + 1], [$n->[1], $d + 1];
    }
    print "depth $depth\n";
}
PERL
both perl perl "$tmp/work.pl"
