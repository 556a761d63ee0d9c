# SPDX-License-Identifier: MIT
# hash.pl COUNT - a hash of strings: filled, read at random, half deleted, filled again, dropped.
use strict;
use warnings;

my $count = shift;
my $seed = 42;
sub draw { $seed = ($seed * 1103515245 + 12345) & 0x7fffffff; return ($seed >> 4) % $_[0] }

my %hash;
my $found = 0;
for my $i (1 .. $count) { $hash{"key $i"} = "v" x (10 + draw(200)) }
for (1 .. $count) { $found += length($hash{"key " . (1 + draw($count))}) }
for my $i (1 .. $count) { delete $hash{"key $i"} if draw(2) }
for my $i (1 .. $count / 2) { $hash{"again $i"} = "w" x (10 + draw(200)) }
for (1 .. $count) { $found += length($hash{"again " . (1 + draw($count))} // "") }
print scalar(keys %hash), " $found\n";
undef %hash;

my %kib;
my @names = ("status", $ENV{HUMA_BENCH_SAMPLED} ? "smaps_rollup" : ());
for my $name (@names) {
    open my $in, "<", "/proc/self/$name" or next;
    while (<$in>) { $kib{$1} = $2 if /^(\w+):\s*(\d+) kB/ }
}
print "final\trss_kib=$kib{VmRSS}", defined $kib{AnonHugePages} ? "\thuge_kib=$kib{AnonHugePages}" : "", "\n";
