/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "findings.h"
#include "suite.h"

#include <string.h>

#define MIB (UINT64_C (1024) * 1024)

static const BkFinding *
find (GPtrArray *findings, const char *check, unsigned nth)
{
  for (unsigned i = 0; i < findings->len; i++) {
    const BkFinding *finding = findings->pdata[i];
    if (strcmp (finding->check, check) == 0 && nth-- == 0)
      return finding;
  }
  return NULL;
}

/* What is not ok says what to do, and what is ok does not. */
static void
check_fixes (GPtrArray *findings)
{
  for (unsigned i = 0; i < findings->len; i++) {
    const BkFinding *finding = findings->pdata[i];
    ck_assert_msg ((strcmp (finding->state, "ok") == 0) == (finding->fix == NULL), "%s: %s: %s", finding->check, finding->state, finding->detail);
    ck_assert_ptr_nonnull (finding->subject);
  }
}

static void
check_one (GPtrArray *findings, const char *state, const char *words)
{
  ck_assert_uint_eq (findings->len, 1);
  const BkFinding *finding = findings->pdata[0];
  ck_assert_str_eq (finding->state, state);
  ck_assert_msg (strstr (finding->detail, words) || (finding->fix && strstr (finding->fix, words)), "'%s' is neither in '%s' nor in '%s'", words, finding->detail, finding->fix);
  check_fixes (findings);
}

START_TEST (folders)
{
  static const struct {
    const char *failure;
    uint64_t free_bytes;
    const char *state, *words;
  } rows[] = {
    { NULL, 100 * MIB, "ok", "100.0 MiB" },
    { NULL, 99 * MIB, "warning", "make room" },
    { NULL, 10 * MIB, "warning", "make room" },
    { NULL, 10 * MIB - 1, "problem", "make room" },
    { "read-only file system", 100 * MIB, "problem", "mount it anew" },
  };
  for (size_t i = 0; i < G_N_ELEMENTS (rows); i++) {
    g_autoptr (GPtrArray) findings = bk_findings_new ();
    const BkFolderFacts facts = { "daemon", "folder", "/x", rows[i].failure, "mount it anew", rows[i].free_bytes, 10 * MIB, 100 * MIB, "make room" };
    bk_findings_add_folder (findings, &facts);
    check_one (findings, rows[i].state, rows[i].words);
  }
}
END_TEST

START_TEST (clocks)
{
  static const struct {
    int64_t newest;
    const char *state;
  } rows[] = { { 0, "ok" }, { 1000 * G_USEC_PER_SEC, "ok" }, { 1001 * G_USEC_PER_SEC, "ok" }, { 1003 * G_USEC_PER_SEC, "problem" } };
  for (size_t i = 0; i < G_N_ELEMENTS (rows); i++) {
    g_autoptr (GPtrArray) findings = bk_findings_new ();
    bk_findings_add_clock (findings, 1000 * G_USEC_PER_SEC, rows[i].newest);
    check_one (findings, rows[i].state, "1970-01-01 00:16:40");
  }
}
END_TEST

START_TEST (programs)
{
  g_autoptr (GPtrArray) findings = bk_findings_new ();
  BkProgramFacts facts = { "nbdkit", "/usr/bin/nbdkit", "1.32", "serve", "nbdkit", false };
  bk_findings_add_program (findings, &facts);
  ck_assert_str_eq (bk_findings_state (findings), "ok");
  facts.path = NULL;
  bk_findings_add_program (findings, &facts);
  ck_assert_str_eq (bk_findings_state (findings), "warning");
  facts.essential = true;
  bk_findings_add_program (findings, &facts);
  ck_assert_str_eq (bk_findings_state (findings), "problem");
  check_fixes (findings);
}
END_TEST

START_TEST (repositories)
{
  static const struct {
    const char *state, *unwritable;
    uint64_t damaged;
    const char *found, *check;
  } rows[] = {
    { "ok", NULL, 0, "ok", "folder" },
    { "ok", "read-only", 0, "problem", "folder" },
    { "ok", NULL, 2, "problem", "content" },
    { "unreachable", NULL, 0, "problem", "opens" },
    { "locked", NULL, 0, "problem", "opens" },
  };
  for (size_t i = 0; i < G_N_ELEMENTS (rows); i++) {
    g_autoptr (GPtrArray) findings = bk_findings_new ();
    const BkRepositoryInfo info = { .name = (char *)"nas", .path = (char *)"/nas", .state = (char *)rows[i].state, .bytes_free = 1024 * 1024 * MIB, .damaged_chunks = rows[i].damaged };
    bk_findings_add_repository (findings, &info, rows[i].unwritable);
    const BkFinding *finding = find (findings, rows[i].check, 0);
    ck_assert_ptr_nonnull (finding);
    ck_assert_str_eq (finding->state, rows[i].found);
    check_fixes (findings);
  }
}
END_TEST

/* --- a VM --- */

typedef struct {
  BkVmInfo vm;
  BkBitmap bitmap;
  BkDisk disk;
  BkVmState state;
  BkVmFacts facts;
  GPtrArray *findings;
} Bench;

/* All is well, with a foreign bitmap. */
static void
bench_init (Bench *bench)
{
  *bench = (Bench){
    .vm = { .name = (char *)"web", .qmp = (char *)"/q.sock" },
    .bitmap = { .name = (char *)"other" },
    .disk = { .name = (char *)"vda", .node = (char *)"n", .format = (char *)"qcow2", .size = 1000 * MIB, .can_persist = true },
    .state = { .status = (char *)"running", .version = (char *)"7.2.22", .pull = true, .snapshot_push = true },
    .facts = { .socket_there = true, .socket_owner = "root", .user = "backup", .link = BK_LINK_READY, .scratch = "/scratch", .scratch_free = 100 * MIB,
               .scratch_tried = true, .instance = "abcdef", .agent_asked = true },
  };
  bench->disk.bitmaps = g_ptr_array_new ();
  g_ptr_array_add (bench->disk.bitmaps, &bench->bitmap);
  bench->state.disks = g_ptr_array_new ();
  g_ptr_array_add (bench->state.disks, &bench->disk);
  bench->facts.vm = &bench->vm;
  bench->facts.state = &bench->state;
  bench->findings = bk_findings_new ();
}

/* The @nth finding on @check has @state and @words; that of the whole is the same. */
static void
bench_check (Bench *bench, const char *check, unsigned nth, const char *state, const char *words)
{
  bk_findings_add_vm (bench->findings, &bench->facts);
  check_fixes (bench->findings);
  const BkFinding *finding = find (bench->findings, check, nth);
  ck_assert_msg (finding != NULL, "no finding on '%s'", check);
  ck_assert_str_eq (finding->subject, "VM web");
  ck_assert_str_eq (finding->state, state);
  ck_assert_msg (strstr (finding->detail, words) || (finding->fix && strstr (finding->fix, words)), "'%s' is neither in '%s' nor in '%s'", words, finding->detail, finding->fix);
  ck_assert_str_eq (bk_findings_state (bench->findings), state);
  g_ptr_array_unref (bench->findings);
  g_ptr_array_unref (bench->disk.bitmaps);
  g_ptr_array_unref (bench->state.disks);
}

#define VM_TEST(name, change, check, nth, state, words)                                                                                                        \
  START_TEST (name)                                                                                                                                            \
  {                                                                                                                                                            \
    Bench b;                                                                                                                                                   \
    bench_init (&b);                                                                                                                                           \
    change;                                                                                                                                                    \
    bench_check (&b, check, nth, state, words);                                                                                                                \
  }                                                                                                                                                            \
  END_TEST

VM_TEST (all_is_well, (void)0, "disk vda", 1, "ok", "another program's")
VM_TEST (no_socket, b.facts.socket_there = false, "socket", 0, "problem", "-qmp unix:/q.sock")
VM_TEST (no_right, b.facts.socket_failure = "/q.sock may not be opened", "socket", 0, "problem", "setfacl -m u:backup:rw /q.sock")
VM_TEST (busy, (b.facts.state = NULL, b.facts.failure = "busy", b.facts.link = BK_LINK_BUSY), "connection", 0, "problem", "second '-qmp'")
VM_TEST (down, (b.facts.state = NULL, b.facts.failure = "gone", b.facts.link = BK_LINK_DOWN), "connection", 0, "problem", "see that the VM runs")
VM_TEST (shut_off, (b.state.offline = true, b.facts.socket_there = false, b.facts.agent_asked = false), "connection", 0, "ok", "shut off")
VM_TEST (old, b.state.no_pull = (char *)"too old", "features", 0, "warning", "mode push")
VM_TEST (blocked, b.state.obstacle = (char *)"a backup of another program", "backup", 0, "problem", "another program")
VM_TEST (confined, b.facts.confinement = "libvirt-x (enforce)", "AppArmor", 0, "ok", "may use scratch")
VM_TEST (scratch_refused, b.facts.scratch_failure = "Permission denied", "scratch", 0, "problem", "scratch-dir")
VM_TEST (scratch_small, b.facts.scratch_free = 99 * MIB, "scratch", 0, "warning", "less than a tenth")
VM_TEST (raw_disk, (b.disk.can_persist = false, b.disk.why_not = (char *)"raw"), "disk vda", 0, "warning", "qemu-img convert")
VM_TEST (read_only, (b.disk.read_only = true, b.disk.can_persist = false), "disk vda", 0, "ok", "read-only")
VM_TEST (no_access, b.disk.no_access = (char *)"denied", "disk vda", 0, "problem", "read its image")
VM_TEST (broken_bitmap, b.bitmap.inconsistent = true, "disk vda", 1, "warning", "'block-dirty-bitmap-remove' with node 'n' and name 'other'")
VM_TEST (unknown_bitmap, b.bitmap.name = (char *)"bkd-abcdef-cp-1-0", "disk vda", 1, "warning", "no checkpoint knows")
VM_TEST (busy_bitmap, b.bitmap.busy = true, "disk vda", 1, "warning", "in use by another program")
VM_TEST (agent_dead, b.facts.agent_failure = "no answer", "guest agent", 0, "warning", "qemu-guest-agent")
VM_TEST (agent_frozen, b.facts.agent_frozen = true, "guest agent", 0, "problem", "guest-fsfreeze-thaw")
VM_TEST (agent_in_use, (b.facts.agent_busy = "J1", b.facts.agent_asked = false), "guest agent", 0, "ok", "J1")

START_TEST (bitmap_of_a_checkpoint)
{
  Bench b;
  bench_init (&b);
  BkCheckpointDisk disk = { .name = (char *)"vda", .bitmap = (char *)"bkd-abcdef-cp-1-0" };
  BkCheckpointInfo checkpoint = { .disks = g_ptr_array_new () };
  g_autoptr (GPtrArray) checkpoints = g_ptr_array_new ();
  g_ptr_array_add (checkpoint.disks, &disk);
  g_ptr_array_add (checkpoints, &checkpoint);
  b.facts.checkpoints = checkpoints;
  b.bitmap.name = disk.bitmap;
  bk_findings_add_vm (b.findings, &b.facts);
  ck_assert_ptr_null (find (b.findings, "disk vda", 1));
  g_ptr_array_set_size (b.findings, 0);
  b.bitmap.inconsistent = true;
  bench_check (&b, "disk vda", 1, "warning", "the next backup of this disk is a full one");
  g_ptr_array_unref (checkpoint.disks);
}
END_TEST

int
main (void)
{
  const TTest *const tests[] = { folders, clocks, programs, repositories, all_is_well, no_socket, no_right, busy, down, shut_off, old, blocked, confined,
                                 scratch_refused, scratch_small, raw_disk, read_only, no_access, broken_bitmap, unknown_bitmap, busy_bitmap, agent_dead,
                                 agent_frozen, agent_in_use, bitmap_of_a_checkpoint, NULL };
  return bk_suite_run ("findings", tests);
}
