# SPDX-License-Identifier: MIT
# index.pl - an index of records in memory: build it, look records up at random, say what it cost.
#
# Usage   perl index.pl RECORDS
# Prints  lines "key value": CPU seconds, then the kernel's figures about this process.
# Needs   nothing but perl itself (Debian's perl-base).
use strict;
use warnings;

my $count = shift // 0;
$count =~ /^[1-9]\d*$/ or die "usage: perl index.pl RECORDS\n";

sub cpu_seconds { my ($user, $system) = times; return $user + $system }

# The first number behind NAME in a file of /proc, where lines read "NAME:  number kB".
sub figure {
    my ($file, $name) = @_;
    open my $in, '<', $file or return 0;
    while (my $line = <$in>) { return $1 if $line =~ /^$name:\s+(\d+)/ }
    return 0;
}

my $start = cpu_seconds();
my %index;
$index{"user:$_"} = "$_ and what else there is to say of a user" for 1 .. $count;
my $built = cpu_seconds();

srand 42;
my $sum = 0;
$sum += ord substr $index{ "user:" . (1 + int rand $count) }, 1 for 1 .. $count;
my $looked_up = cpu_seconds();

open my $stat, '<', '/proc/self/stat' or die "cannot read /proc/self/stat: $!\n";
my ($faults) = (split ' ', (split /\) /, <$stat>)[-1])[7];
printf "build_s %.2f\nlookup_s %.2f\n", $built - $start, $looked_up - $built;
printf "faults %d\nchecksum %.0f\n", $faults, $sum;
printf "table_kb %d\n", figure('/proc/self/status', 'VmPTE');
printf "resident_kb %d\n", figure('/proc/self/smaps_rollup', 'Rss');
printf "huge_kb %d\n", figure('/proc/self/smaps_rollup', 'AnonHugePages');
