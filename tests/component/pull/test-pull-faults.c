/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Pulls that go wrong: the guest lives on, what was read is never taken for more than it is, and all of it can be
 * cleared away.
 */
#include "pull-fixture.h"

#include "process.h"

#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static const BkTestDisk plain[] = { { "vda", "qcow2", SIZE }, { "vdb", "qcow2", SIZE } };
static const BkTestDisk threaded[] = { { "vda", "qcow2", SIZE, .iothread = true }, { "vdb", "qcow2", SIZE, .iothread = true } };

static void
begin (Fixture *f, unsigned number, unsigned first, unsigned n)
{
  g_clear_pointer (&f->run, bk_run_free);
  f->run = new_run (f, number, first, n, NULL);
  must (f, work_snapshot);
}

static const BkRunDisk *
disk_of (const Fixture *f, unsigned i)
{
  return f->run->disks->pdata[i];
}

/* --- scratch that is full --- */

static void
breaks_the_snapshot (const BkTestDisk *disks)
{
  Fixture f;
  set_up (&f, disks, 1);
  bk_test_vm_write (f.vm, "vda", 1, 0, SIZE);
  f.run = new_run (&f, 1, 0, 1, NULL);
  if (mount_small (&f)) {
    must (&f, work_snapshot);
    must (&f, work_export);
    bk_test_vm_write (f.vm, "vda", 2, 0, 2 * MIB);
    must (&f, work_check);
    ck_assert_str_eq (disk_of (&f, 0)->state, "running");
    bk_test_vm_write (f.vm, "vda", 3, 8 * MIB, 8 * MIB); /* succeeds, or the test fails here */
    must (&f, work_check);
    ck_assert_str_eq (disk_of (&f, 0)->state, "failed");
    ck_assert_str_eq (disk_of (&f, 0)->error->code, "no-space");
    ck_assert_msg (strstr (disk_of (&f, 0)->error->message, "was full for what the guest wrote") != NULL, "%s", disk_of (&f, 0)->error->message);
    must (&f, work_release);
    must (&f, work_rollback);
    unmount_small (&f);
    assert_clean (&f);
  }
  tear_down (&f);
}

START_TEST (a_full_scratch_breaks_the_snapshot)
{
  breaks_the_snapshot (plain);
}
END_TEST

START_TEST (a_full_scratch_breaks_the_snapshot_in_an_iothread)
{
  breaks_the_snapshot (threaded);
}
END_TEST

/* Before anything could be exported. */
START_TEST (a_broken_snapshot_is_not_exported)
{
  Fixture f;
  set_up (&f, plain, 1);
  bk_test_vm_write (f.vm, "vda", 1, 0, SIZE);
  f.run = new_run (&f, 1, 0, 1, NULL);
  if (mount_small (&f)) {
    must (&f, work_snapshot);
    bk_test_vm_write (f.vm, "vda", 3, 8 * MIB, 8 * MIB);
    must_fail (&f, work_export, BK_ERROR_NO_SPACE, "disk vda: the snapshot broke");
    must (&f, work_release);
    unmount_small (&f);
    assert_clean (&f);
  }
  tear_down (&f);
}
END_TEST

/* --- others at the VM --- */

START_TEST (nobody_shrinks_the_disk_meanwhile)
{
  static const char *const resizes[] = { "{\"execute\":\"block_resize\",\"arguments\":{\"node-name\":\"vda\",\"size\":16777216}}",
                                         "{\"execute\":\"block_resize\",\"arguments\":{\"node-name\":\"bkd-0a1b2c-1-c0\",\"size\":16777216}}" };
  Fixture f;
  set_up (&f, plain, 1);
  begin (&f, 1, 0, 1);
  must (&f, work_export);
  for (size_t i = 0; i < G_N_ELEMENTS (resizes); i++) {
    g_autofree char *answer = bk_test_vm_execute (f.vm, resizes[i]);
    ck_assert_msg (strstr (answer, "error") != NULL, "%s", answer);
  }
  must (&f, work_release);
  assert_clean (&f);
  g_autofree char *answer = bk_test_vm_execute (f.vm, resizes[0]);
  ck_assert_msg (strstr (answer, "return") != NULL, "%s", answer);
  tear_down (&f);
}
END_TEST

START_TEST (a_disk_that_has_shrunk_is_not_exported)
{
  Fixture f;
  set_up (&f, plain, 1);
  begin (&f, 1, 0, 1);
  g_autofree char *answer = bk_test_vm_execute (f.vm, "{\"execute\":\"block_resize\",\"arguments\":{\"node-name\":\"bkd-0a1b2c-1-c0\",\"size\":16777216}}");
  ck_assert_msg (strstr (answer, "return") != NULL, "%s", answer);
  must_fail (&f, work_export, BK_ERROR_FAILED, "disk vda: it was made smaller, to 16777216 bytes");
  must (&f, work_release);
  assert_clean (&f);
  tear_down (&f);
}
END_TEST

START_TEST (another_programs_server_is_left_alone)
{
  Fixture f;
  set_up (&f, plain, 1);
  g_autofree char *start = g_strdup_printf ("{\"execute\":\"nbd-server-start\",\"arguments\":{\"addr\":{\"type\":\"unix\",\"data\":{\"path\":\"%s/other\"}}}}",
                                            f.folder);
  g_free (bk_test_vm_execute (f.vm, start));
  begin (&f, 1, 0, 1);
  must_fail (&f, work_export, BK_ERROR_CONFLICT, "another program exports disks of this VM");
  must (&f, work_release);
  g_free (bk_test_vm_execute (f.vm, "{\"execute\":\"block-export-add\",\"arguments\":{\"type\":\"nbd\",\"id\":\"other\",\"node-name\":\"vda\"}}"));
  begin (&f, 2, 0, 1);
  must_fail (&f, work_export, BK_ERROR_CONFLICT, "another program exports disks of this VM");
  must (&f, work_release);
  g_autofree char *address = g_strdup_printf ("unix:%s/other", f.folder);
  g_autoptr (NbdHandle) other = connect_nbd (address, "vda", NULL);
  nbd_shutdown (other, 0);
  g_free (bk_test_vm_execute (f.vm, "{\"execute\":\"nbd-server-stop\"}"));
  assert_clean (&f);
  tear_down (&f);
}
END_TEST

/* Another program's export on our server: it stays, and so does the server, until that is gone. */
START_TEST (another_programs_export_stays)
{
  Fixture f;
  set_up (&f, plain, 2);
  begin (&f, 1, 0, 1);
  must (&f, work_export);
  g_free (bk_test_vm_execute (f.vm, "{\"execute\":\"block-export-add\",\"arguments\":{\"type\":\"nbd\",\"id\":\"other\",\"node-name\":\"vdb\"}}"));
  must (&f, work_release);
  g_autoptr (NbdHandle) other = connect_nbd (f.run->nbd_address, "vdb", NULL);
  nbd_shutdown (other, 0);
  g_free (bk_test_vm_execute (f.vm, "{\"execute\":\"block-export-del\",\"arguments\":{\"id\":\"other\"}}"));
  must (&f, work_release);
  assert_clean (&f);
  tear_down (&f);
}
END_TEST

static void
must_read (const BkRun *run, uint8_t expected)
{
  uint8_t sector[512];
  const BkRunDisk *disk = run->disks->pdata[0];
  g_autoptr (NbdHandle) nbd = connect_nbd (run->nbd_address, disk->export_name, NULL);
  ck_assert_int_eq (nbd_pread (nbd, sector, sizeof sector, MIB, 0), 0);
  ck_assert_uint_eq (sector[0], expected);
  nbd_shutdown (nbd, 0);
}

START_TEST (runs_share_the_server)
{
  Fixture f;
  set_up (&f, plain, 2);
  bk_test_vm_write (f.vm, "vda", 1, MIB, MIB);
  bk_test_vm_write (f.vm, "vdb", 2, MIB, MIB);
  begin (&f, 1, 0, 1);
  must (&f, work_export);
  BkRun *first = g_steal_pointer (&f.run);
  begin (&f, 2, 1, 1);
  must (&f, work_export);
  ck_assert_str_eq (first->nbd_address, f.run->nbd_address);
  must_read (first, 1);
  must_read (f.run, 2);
  BkRun *second = f.run;
  f.run = first;
  must (&f, work_release); /* the one that has started it */
  must_read (second, 2);
  f.run = second;
  must (&f, work_check);
  ck_assert_str_eq (disk_of (&f, 0)->state, "running");
  must (&f, work_release);
  assert_clean (&f);
  bk_run_free (first);
  tear_down (&f);
}
END_TEST

/* --- readers that go wrong --- */

START_TEST (a_stalled_reader_does_not_hang_the_release)
{
  Fixture f;
  set_up (&f, plain, 1);
  bk_test_vm_write (f.vm, "vda", 1, 0, SIZE);
  begin (&f, 1, 0, 1);
  must (&f, work_export);
  NbdHandle *nbd = stalled_reader (f.run->nbd_address, disk_of (&f, 0)->export_name);
  int64_t before = g_get_monotonic_time ();
  must_fail (&f, work_release, BK_ERROR_UNREACHABLE, "does not take QEMU's replies");
  ck_assert_int_lt (g_get_monotonic_time () - before, 20 * G_USEC_PER_SEC);
  assert_vm_lives (&f);
  bk_test_vm_write (f.vm, "vda", 2, 0, MIB);
  nbd_close (nbd);
  must (&f, work_release);
  assert_clean (&f);
  tear_down (&f);
}
END_TEST

/* A process that has a frozen disk open, reads from it, and asks for the changes; it is killed in the middle. */
static void
crash_a_reader (const Fixture *f)
{
  const BkRunDisk *disk = disk_of (f, 0);
  int ready[2];
  ck_assert_int_eq (pipe (ready), 0);
  pid_t pid = fork ();
  ck_assert_int_ge (pid, 0);
  if (pid == 0) {
    char byte = 0;
    g_autoptr (NbdHandle) nbd = disk->map_export ? connect_nbd (f->run->nbd_address, disk->map_export, disk->dirty_context)
                                                 : connect_nbd (f->run->nbd_address, disk->export_name, NULL);
    int file = disk->frozen_path ? open (disk->frozen_path, O_RDONLY | O_CLOEXEC) : -1;
    if (disk->frozen_path && pread (file, &byte, 1, MIB) != 1)
      _exit (1);
    if (write (ready[1], &byte, 1) == 1)
      pause ();
    _exit (1);
  }
  char byte = 0;
  ck_assert_int_eq (read (ready[0], &byte, 1), 1);
  ck_assert_int_eq (kill (pid, SIGKILL), 0);
  int status = 0;
  ck_assert_int_eq (waitpid (pid, &status, 0), pid);
  ck_assert (WIFSIGNALED (status));
  close (ready[0]);
  close (ready[1]);
}

static void
survives_a_crashed_reader (const BkTestDisk *disks)
{
  Fixture f;
  set_up (&f, disks, 1);
  begin (&f, 1, 0, 1);
  must (&f, work_export);
  must (&f, work_release);
  g_clear_pointer (&f.run, bk_run_free);
  f.run = new_run (&f, 2, 0, 1, "bkd-0a1b2c-cp-1");
  must (&f, work_snapshot);
  must (&f, work_export);
  for (unsigned i = 0; i < 3; i++) {
    crash_a_reader (&f);
    assert_vm_lives (&f);
    must (&f, work_check);
  }
  ck_assert_str_eq (disk_of (&f, 0)->state, "running");
  must (&f, work_release);
  assert_clean (&f);
  tear_down (&f);
}

START_TEST (a_crashed_reader_hurts_nobody)
{
  survives_a_crashed_reader (plain);
  survives_a_crashed_reader (threaded);
}
END_TEST

/* A reset takes a disk out of its iothread and in again: those who read then must not end QEMU. */

typedef struct {
  Fixture *f;
  gint stop;
  unsigned reads;
} Reading;

static void
read_on (gpointer data)
{
  Reading *reading = data;
  g_autofree uint8_t *buffer = g_malloc (MIB);
  for (; !g_atomic_int_get (&reading->stop); reading->reads++) {
    int file = open (disk_of (reading->f, 0)->frozen_path, O_RDONLY | O_CLOEXEC);
    ck_assert_int_ge (file, 0);
    ck_assert_int_eq (pread (file, buffer, MIB, (off_t)((reading->reads % 32) * MIB)), MIB);
    ck_assert_uint_eq (buffer[0], 1);
    ck_assert_int_ge (lseek (file, 0, SEEK_DATA), 0);
    close (file);
  }
}

START_TEST (a_reset_of_the_guest_is_lived_through)
{
  Fixture f;
  set_up (&f, threaded, 1);
  bk_test_vm_write (f.vm, "vda", 1, 0, SIZE);
  begin (&f, 1, 0, 1);
  must (&f, work_export);
  Reading reading = { .f = &f };
  BkWorker *worker = bk_worker_start (read_on, &reading);
  for (unsigned i = 0; i < 24; i++) {
    g_free (bk_test_vm_execute (f.vm, "{\"execute\":\"system_reset\"}"));
    bk_test_vm_write (f.vm, "vda", (uint8_t)(i + 2), i * MIB, MIB);
    must (&f, work_check);
    g_usleep ((1 + i % 3) * 100000); /* while the firmware starts the disk, before, and after */
  }
  g_atomic_int_set (&reading.stop, 1);
  bk_worker_wait (worker);
  ck_assert_uint_gt (reading.reads, 0);
  ck_assert_str_eq (disk_of (&f, 0)->state, "running");
  must (&f, work_release);
  assert_clean (&f);
  bk_test_vm_write (f.vm, "vda", 9, 0, MIB);
  tear_down (&f);
}
END_TEST

/* A guest that stands still has its disks out of their iothreads: then there is no safe way, and the plan knows. */
START_TEST (a_stopped_guest_keeps_its_disks)
{
  Fixture f;
  set_up (&f, threaded, 1);
  g_free (bk_test_vm_execute (f.vm, "{\"execute\":\"stop\"}"));
  begin (&f, 1, 0, 1);
  const BkDisk *disk = f.state->disks->pdata[0];
  ck_assert_msg (disk->no_pull && strstr (disk->no_pull, "the guest is 'paused'"), "%s", disk->no_pull);
  must_fail (&f, work_export, BK_ERROR_FAILED, "disk vda: QEMU cannot export it by FUSE from its iothread now");
  must (&f, work_release);
  g_free (bk_test_vm_execute (f.vm, "{\"execute\":\"cont\"}"));
  g_free (bk_test_vm_execute (f.vm, "{\"execute\":\"system_reset\"}"));
  bk_test_vm_write (f.vm, "vda", 9, 0, MIB);
  assert_clean (&f);
  wait_for_iothreads (&f, threaded, 1);
  begin (&f, 2, 0, 1);
  ck_assert_ptr_null (((const BkDisk *)f.state->disks->pdata[0])->no_pull);
  must (&f, work_export);
  must (&f, work_release);
  assert_clean (&f);
  tear_down (&f);
}
END_TEST

/* --- the death of the daemon --- */

static void
recovers (const BkTestDisk *disks, unsigned steps, bool connected)
{
  Fixture f;
  set_up (&f, disks, 2);
  begin (&f, 1, 0, 2);
  must (&f, work_export);
  must (&f, work_release);
  g_clear_pointer (&f.run, bk_run_free);
  f.run = new_run (&f, 2, 0, 2, "bkd-0a1b2c-cp-1");
  must (&f, work_snapshot);
  if (steps > 0)
    must (&f, work_export);
  NbdHandle *nbd = connected ? connect_nbd (f.run->nbd_address, disk_of (&f, 0)->map_export ? disk_of (&f, 0)->map_export : disk_of (&f, 0)->export_name, NULL) : NULL;
  restart_daemon (&f);
  if (steps > 0) {
    must (&f, work_check);
    ck_assert_str_eq (disk_of (&f, 0)->state, "running");
  }
  /* As if it had died before it could write down where the server is. */
  g_clear_pointer (&f.run->nbd_server, g_free);
  must (&f, work_release);
  must (&f, work_rollback);
  assert_clean (&f);
  g_autofree char *nodes = bk_test_vm_execute (f.vm, "{\"execute\":\"query-named-block-nodes\",\"arguments\":{\"flat\":true}}");
  ck_assert (strstr (nodes, "bkd-0a1b2c-cp-1") != NULL && strstr (nodes, "bkd-0a1b2c-cp-2") == NULL);
  if (nbd)
    nbd_close (nbd);
  assert_vm_lives (&f);
  tear_down (&f);
}

START_TEST (a_new_daemon_clears_away)
{
  recovers (plain, 0, false);
  recovers (plain, 1, false);
  recovers (plain, 1, true);
}
END_TEST

START_TEST (a_new_daemon_clears_away_iothreads)
{
  recovers (threaded, 0, false);
  recovers (threaded, 1, false);
  recovers (threaded, 1, true);
}
END_TEST

/* A server that was started, and no export of it yet: the next run takes it over. */
START_TEST (a_server_without_exports_is_found)
{
  static const char *const ids[] = { "l0", "k0", "x0" };
  Fixture f;
  set_up (&f, plain, 2);
  begin (&f, 1, 0, 1);
  must (&f, work_export);
  for (size_t i = 0; i < G_N_ELEMENTS (ids); i++) {
    g_autofree char *command = g_strdup_printf ("{\"execute\":\"block-export-del\",\"arguments\":{\"id\":\"bkd-0a1b2c-1-%s.1\"}}", ids[i]);
    g_autofree char *answer = bk_test_vm_execute (f.vm, command);
    ck_assert_msg (strstr (answer, "return") != NULL, "%s", answer);
  }
  restart_daemon (&f);
  BkRun *dead = g_steal_pointer (&f.run);
  begin (&f, 2, 1, 1);
  must (&f, work_export);
  ck_assert_str_eq (dead->nbd_address, f.run->nbd_address);
  BkRun *living = f.run;
  f.run = dead;
  must (&f, work_release);
  must_read (living, 0);
  f.run = living;
  must (&f, work_release);
  assert_clean (&f);
  bk_run_free (dead);
  tear_down (&f);
}
END_TEST

/* --- the death of the VM --- */

static void
vm_dies (const BkTestDisk *disks)
{
  Fixture f;
  set_up (&f, disks, 1);
  begin (&f, 1, 0, 1);
  must (&f, work_export);
  bk_test_vm_stop (f.vm, false);
  must (&f, work_check);
  ck_assert_str_eq (disk_of (&f, 0)->state, "failed");
  ck_assert_str_eq (disk_of (&f, 0)->error->code, "failed");
  ck_assert_msg (strstr (disk_of (&f, 0)->error->message, "the VM was restarted") != NULL, "%s", disk_of (&f, 0)->error->message);
  bk_worker_run (work_release, &f);
  bk_assert_error (f.error, BK_ERROR_UNREACHABLE);
  g_autofree char *mounts = NULL;
  ck_assert (g_file_get_contents ("/proc/self/mounts", &mounts, NULL, NULL));
  ck_assert_msg (strstr (mounts, f.exports) == NULL, "a mount was left behind");
  tear_down (&f);
}

START_TEST (a_dead_vm_is_seen)
{
  vm_dies (plain);
  vm_dies (threaded);
}
END_TEST

int
main (void)
{
  const TTest *const tests[] = { a_full_scratch_breaks_the_snapshot,
                                 a_full_scratch_breaks_the_snapshot_in_an_iothread,
                                 a_broken_snapshot_is_not_exported,
                                 nobody_shrinks_the_disk_meanwhile,
                                 a_disk_that_has_shrunk_is_not_exported,
                                 another_programs_server_is_left_alone,
                                 another_programs_export_stays,
                                 runs_share_the_server,
                                 a_stalled_reader_does_not_hang_the_release,
                                 a_crashed_reader_hurts_nobody,
                                 a_reset_of_the_guest_is_lived_through,
                                 a_stopped_guest_keeps_its_disks,
                                 a_new_daemon_clears_away,
                                 a_new_daemon_clears_away_iothreads,
                                 a_server_without_exports_is_found,
                                 a_dead_vm_is_seen,
                                 NULL };
  return run_tests ("pull-faults", tests);
}
