/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * What is pure about the gateway, and what it is built of: arguments, sockets, processes.
 */
#include "gateway.h"

#include "listen.h"
#include "pid.h"
#include "process.h"
#include "suite.h"

#include <signal.h>
#include <string.h>
#include <unistd.h>

static BkRun *
new_run (void)
{
  BkRun *run = g_new0 (BkRun, 1);
  run->prefix = g_strdup ("bkd-1a2b3c-42");
  run->mode = g_strdup ("pull");
  run->export_folder = g_strdup ("/e");
  run->nbd_server = g_strdup ("/e/bkd-1a2b3c-40.nbd");
  run->disks = g_ptr_array_new ();
  for (unsigned i = 0; i < 3; i++) {
    BkRunDisk *disk = g_new0 (BkRunDisk, 1);
    disk->index = i;
    disk->name = g_strdup_printf ("vd%c", 'a' + (int)i);
    disk->sync = g_strdup (i == 1 ? "bitmap" : "full");
    disk->state = g_strdup (i == 2 ? "failed" : "running");
    g_ptr_array_add (run->disks, disk);
  }
  return run;
}

static char *
arguments (const BkRun *run)
{
  g_auto (GStrv) argv = bk_gateway_arguments (run);
  return g_strjoinv ("\n", argv);
}

static void
holds (const char *text, const char *line)
{
  g_autofree char *whole = g_strdup_printf ("\n%s\n", text);
  g_autofree char *wanted = g_strdup_printf ("\n%s\n", line);
  ck_assert_msg (strstr (whole, wanted) != NULL, "%s is not in %s", line, text);
}

START_TEST (reads_the_exports)
{
  g_autoptr (BkRun) run = new_run ();
  g_autofree char *text = arguments (run);
  holds (text, "--nbd-server\n{\"addr\":{\"type\":\"fd\",\"str\":\"3\"}}");
  holds (text, "--blockdev\n{\"driver\":\"nbd\",\"node-name\":\"d0\",\"read-only\":true,\"server\":{\"type\":\"unix\",\"path\":\"/e/bkd-1a2b3c-40.nbd\"},"
               "\"export\":\"bkd-1a2b3c-42-x0\",\"open-timeout\":10}");
  holds (text, "--export\n{\"type\":\"nbd\",\"id\":\"d0\",\"node-name\":\"d0\",\"name\":\"vda\"}");
  holds (text, "--blockdev\n{\"driver\":\"qcow2\",\"node-name\":\"m1\",\"read-only\":true,\"file\":\"m1-file\",\"backing\":null}");
  holds (text, "--export\n{\"type\":\"nbd\",\"id\":\"d1\",\"node-name\":\"d1\",\"name\":\"vdb\",\"bitmaps\":[{\"node\":\"m1\",\"name\":\"bkd-1a2b3c-42-inc\"}]}");
  ck_assert_msg (strstr (text, "vdc") == NULL, "a disk that has failed: %s", text);
}
END_TEST

START_TEST (reads_files_of_iothreads)
{
  g_autoptr (BkRun) run = new_run ();
  BkRunDisk *disk = run->disks->pdata[0];
  disk->canary_path = g_strdup ("/e/bkd-1a2b3c-42-k0.img");
  disk->name[0] = '"';
  g_autofree char *text = arguments (run);
  holds (text, "--blockdev\n{\"driver\":\"file\",\"node-name\":\"d0\",\"read-only\":true,\"filename\":\"/e/bkd-1a2b3c-42-x0.img\",\"locking\":\"off\"}");
  holds (text, "--export\n{\"type\":\"nbd\",\"id\":\"d0\",\"node-name\":\"d0\",\"name\":\"\\\"da\"}");
}
END_TEST

START_TEST (asks_for_tls)
{
  g_autoptr (BkRun) run = new_run ();
  run->tls = g_strdup ("/k");
  run->nbd_tls = g_strdup ("x509");
  g_autofree char *x509 = arguments (run);
  holds (x509, "--object\n{\"qom-type\":\"tls-creds-x509\",\"id\":\"tls\",\"endpoint\":\"server\",\"dir\":\"/k\",\"verify-peer\":true}");
  holds (x509, "--nbd-server\n{\"addr\":{\"type\":\"fd\",\"str\":\"3\"},\"tls-creds\":\"tls\"}");
  g_free (run->nbd_tls);
  run->nbd_tls = g_strdup ("psk");
  g_autofree char *psk = arguments (run);
  holds (psk, "--object\n{\"qom-type\":\"tls-creds-psk\",\"id\":\"tls\",\"endpoint\":\"server\",\"dir\":\"/k\"}");
}
END_TEST

START_TEST (listens)
{
  g_autoptr (GError) error = NULL;
  g_autofree char *address = NULL, *same = NULL, *other = NULL;
  int fd = bk_listen_tcp ("tcp:127.0.0.1:0", &address, &error);
  bk_assert_no_error (error);
  ck_assert_int_ge (fd, 3);
  ck_assert_msg (g_str_has_prefix (address, "tcp:127.0.0.1:") && strcmp (address, "tcp:127.0.0.1:0") != 0, "%s", address);
  ck_assert_int_lt (bk_listen_tcp (address, &same, &error), 0);
  bk_assert_error (error, BK_ERROR_CONFLICT);
  static const char *const wrong[] = { "", "unix", "tcp:", "tcp:[::1", "tcp:host:port", "tcp:127.0.0.1:99999", "tcp:no.such.host.invalid:1" };
  for (size_t i = 0; i < G_N_ELEMENTS (wrong); i++) {
    ck_assert_msg (bk_listen_tcp (wrong[i], &other, &error) < 0, "%s", wrong[i]);
    bk_assert_error (error, BK_ERROR_INVALID);
  }
  close (fd);
}
END_TEST

START_TEST (finds_processes)
{
  const char *const argv[] = { "sleep", "1000.4711", NULL };
  g_autoptr (BkProcess) process = bk_process_start (argv);
  pid_t pid = bk_process_pid (process);
  for (unsigned i = 0; i < 100 && !bk_pid_is (pid, "sleep", "1000.4711"); i++)
    g_usleep (10000); /* until it has come to exec */
  ck_assert_int_eq (bk_pid_find ("sleep", "1000.4711"), pid);
  ck_assert_int_eq (bk_pid_find ("sleep", "1000.471"), 0);
  ck_assert_int_eq (bk_pid_find ("cat", "1000.4711"), 0);
  ck_assert (!bk_pid_is (0, "sleep", "1000.4711") && !bk_pid_is (getpid (), "sleep", "1000.4711"));
  ck_assert (!bk_pid_has_ended (pid) && !bk_pid_is_of_other_user (pid));
  ck_assert_int_eq (kill (pid, SIGKILL), 0);
  for (unsigned i = 0; i < 1000 && !bk_pid_has_ended (pid); i++)
    g_usleep (10000);
  ck_assert (bk_pid_has_ended (pid)); /* a zombie, until it is waited for */
  ck_assert (!bk_pid_is (pid, "sleep", "1000.4711"));
}
END_TEST

/* A QEMU is known again by its start, not by its number alone; nothing else is taken for one. */
START_TEST (tells_one_qemu_from_the_next)
{
  g_autofree char *folder = bk_suite_folder ();
  g_autofree char *program = g_build_filename (folder, "qemu-sleep", NULL);
  ck_assert_int_eq (symlink ("/bin/sleep", program), 0);
  const char *const argv[] = { program, "1000.4712", NULL };
  g_autoptr (BkProcess) process = bk_process_start (argv);
  pid_t pid = bk_process_pid (process);
  for (unsigned i = 0; i < 100 && !bk_pid_is (pid, "qemu-sleep", "1000.4712"); i++)
    g_usleep (10000);
  g_autofree char *identity = bk_pid_identity (pid);
  ck_assert_ptr_nonnull (identity);
  ck_assert (bk_pid_still_runs (identity));
  g_autofree char *other = g_strdup_printf ("%d 1", (int)pid);
  ck_assert (!bk_pid_still_runs (other) && !bk_pid_still_runs ("") && !bk_pid_still_runs ("1 1"));
  ck_assert_ptr_null (bk_pid_identity (getpid ()));
  ck_assert_ptr_null (bk_pid_identity (0));
  ck_assert_int_eq (kill (pid, SIGKILL), 0);
  for (unsigned i = 0; i < 1000 && !bk_pid_has_ended (pid); i++)
    g_usleep (10000);
  ck_assert (!bk_pid_still_runs (identity));
}
END_TEST

int
main (void)
{
  const TTest *const tests[] = { reads_the_exports, reads_files_of_iothreads, asks_for_tls, listens, finds_processes, tells_one_qemu_from_the_next, NULL };
  return bk_suite_run ("gateway", tests);
}
