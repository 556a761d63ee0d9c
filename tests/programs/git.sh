#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# git.sh - git: init, add several hundred files, commit, branch, merge, log, diff, gc, fsck, clone.
# Names, dates and the pack's thread count are fixed, so that every object and pack is the same byte
# for byte; the index and the logs hold times and inode numbers, and are left out of the comparison.
. "$(dirname "$0")/lib.sh"
need git

cat >"$tmp/work.sh" <<'SHELL'
set -eu
export HOME=$PWD GIT_CONFIG_NOSYSTEM=1 GIT_PAGER=cat
export GIT_AUTHOR_NAME=A GIT_AUTHOR_EMAIL=a@example GIT_AUTHOR_DATE='1700000000 +0000'
export GIT_COMMITTER_NAME=C GIT_COMMITTER_EMAIL=c@example GIT_COMMITTER_DATE='1700000000 +0000'
git config --global gc.auto 0
git config --global gc.autoDetach false
git config --global pack.threads 1
git config --global init.defaultBranch main
git init -q repo
cd repo
for i in $(seq 1 600); do
    mkdir -p "dir$((i % 20))"
    seq "$i" $((i * 3 + 40)) >"dir$((i % 20))/file$i.txt"
done
git add .
git commit -qm first
git checkout -qb side
for i in $(seq 1 5 600); do sed -i "s/7$/seven $i/" "dir$((i % 20))/file$i.txt"; done
git commit -qam side
git checkout -q main
for i in $(seq 3 5 600); do echo "main $i" >>"dir$((i % 20))/file$i.txt"; done
git rm -q dir7/file7.txt
git mv dir8/file8.txt dir9/moved.txt
git commit -qam main
git merge -q --no-edit -m merge side
git log --stat -M
git diff --word-diff HEAD~2 HEAD | cksum
git log -p --all | cksum
git blame dir1/file21.txt | tail -n 3
git grep -c seven | sort | tail -n 5
git gc -q --aggressive --prune=now
git fsck --full --strict
git clone -q --no-local . ../clone
git -C ../clone ls-files -s | cksum
git cat-file --batch-all-objects --batch-check | cksum
git status --porcelain
find . ../clone -name index -delete
rm -rf .git/logs ../clone/.git/logs
SHELL
both git bash "$tmp/work.sh"
