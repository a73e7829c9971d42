/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Exports for third parties, read with the programs that third parties have; and third parties who behave badly.
 */
#include "pull-fixture.h"

#include "gateway.h"
#include "pid.h"
#include "process.h"

#include <signal.h>
#include <string.h>

static const BkTestDisk one[] = { { "vda", "qcow2", SIZE } };
static const BkTestDisk both_kinds[] = { { "vda", "qcow2", SIZE }, { "vdb", "raw", SIZE, .iothread = true } };

static void
begin (Fixture *f, unsigned number, unsigned n, const char *base, const char *listen, const char *tls)
{
  g_clear_pointer (&f->run, bk_run_free);
  f->run = new_run (f, number, 0, n, base);
  f->run->export = true;
  f->run->nbd_listen = g_strdup (listen);
  f->run->tls = g_strdup (tls);
  must (f, work_snapshot);
}

static const BkRunDisk *
disk_of (const Fixture *f, unsigned i)
{
  return f->run->disks->pdata[i];
}

static char *
uri_of (const Fixture *f, const char *disk)
{
  if (g_str_has_prefix (f->run->nbd_address, "unix:"))
    return g_strdup_printf ("nbd+unix:///%s?socket=%s", disk, f->run->nbd_address + 5);
  return g_strdup_printf ("nbd://%s/%s", f->run->nbd_address + 4, disk);
}

/* Copies the disk with nbdcopy, and with qemu-img, and compares. */
static void
must_copy (Fixture *f, const char *uri, const uint8_t *expected)
{
  g_autofree char *first = g_build_filename (f->folder, "copied", NULL);
  const char *const nbdcopy[] = { "nbdcopy", uri, first, NULL };
  const char *const convert[] = { "qemu-img", "convert", "-f", "raw", "-O", "qcow2", uri, first, NULL };
  bk_process_run (nbdcopy);
  bk_test_assert_content (first, "raw", expected, SIZE);
  bk_process_run (convert);
  bk_test_assert_content (first, "qcow2", expected, SIZE);
}

static void
read_with_their_programs (const char *listen)
{
  Fixture f;
  set_up (&f, both_kinds, 2);
  bk_test_vm_write (f.vm, "vda", 1, MIB, 3 * MIB + 512);
  bk_test_vm_zero (f.vm, "vda", 2 * MIB, 65536);
  bk_test_vm_write (f.vm, "vdb", 2, 4 * MIB, 3 * MIB + 512);
  begin (&f, 1, 2, NULL, listen, NULL);
  for (unsigned i = 0; i < 2; i++)
    bk_test_vm_write (f.vm, disk_of (&f, i)->name, 0xee, 2 * MIB + 4096, 6 * MIB);
  bk_test_vm_zero (f.vm, "vda", 0, 2 * MIB);
  must (&f, work_export);
  for (unsigned i = 0; i < 2; i++)
    ck_assert_str_eq (disk_of (&f, i)->export_name, disk_of (&f, i)->name);
  g_autofree uint8_t *first = g_malloc0 (SIZE), *second = g_malloc0 (SIZE);
  memset (first + MIB, 1, 3 * MIB + 512);
  memset (first + 2 * MIB, 0, 65536);
  memset (second + 4 * MIB, 2, 3 * MIB + 512);
  g_autofree char *first_uri = uri_of (&f, "vda");
  g_autofree char *second_uri = uri_of (&f, "vdb");
  must_copy (&f, first_uri, first);
  must_copy (&f, second_uri, second);
  must (&f, work_check);
  must (&f, work_release);
  assert_clean (&f);
  tear_down (&f);
}

START_TEST (third_parties_read_over_a_unix_socket)
{
  read_with_their_programs (NULL);
}
END_TEST

START_TEST (third_parties_read_over_tcp)
{
  read_with_their_programs ("tcp:127.0.0.1:0");
}
END_TEST

/* --- changes --- */

static void
work_pull (gpointer data)
{
  Fixture *f = data;
  for (unsigned i = 0; i < f->run->disks->len; i++) {
    g_autofree uint8_t *expected = bk_test_vm_content (f->vm, disk_of (f, i)->name);
    g_autofree uint8_t *image = g_malloc0 (SIZE);
    memset (image + MIB, 1, MIB);
    pull_disk (f->run, disk_of (f, i), image);
    assert_same (image, expected, SIZE, disk_of (f, i)->name);
  }
}

START_TEST (third_parties_read_what_changed)
{
  Fixture f;
  set_up (&f, both_kinds, 2);
  for (unsigned i = 0; i < 2; i++)
    bk_test_vm_write (f.vm, both_kinds[i].name, 1, MIB, MIB);
  begin (&f, 1, 2, NULL, NULL, NULL);
  must (&f, work_export);
  must (&f, work_release);
  for (unsigned i = 0; i < 2; i++)
    bk_test_vm_write (f.vm, both_kinds[i].name, 7, 9 * MIB + 512, MIB);
  begin (&f, 2, 2, "bkd-0a1b2c-cp-1", NULL, NULL);
  must (&f, work_export);
  ck_assert_str_eq (disk_of (&f, 0)->dirty_context, "qemu:dirty-bitmap:bkd-0a1b2c-2-inc");
  bk_worker_run (work_pull, &f);
  g_autofree char *uri = uri_of (&f, "vda");
  g_autofree char *map = g_strdup_printf ("test $(nbdinfo --map=qemu:dirty-bitmap:bkd-0a1b2c-2-inc '%s' | grep -c dirty) = 1", uri);
  const char *const nbdinfo[] = { "sh", "-c", map, NULL };
  bk_process_run (nbdinfo);
  must (&f, work_release);
  must (&f, work_rollback);
  assert_clean (&f);
  tear_down (&f);
}
END_TEST

/* --- TLS --- */

static void
run_in (const char *folder, const char *script)
{
  const char *const argv[] = { "sh", "-ec", script, "sh", folder, NULL };
  bk_process_run (argv);
}

static const char psk_script[] = "cd \"$1\"; printf 'reader:%s\\n' 0123456789abcdef0123456789abcdef > keys.psk";

static const char x509_script[] =
    "cd \"$1\"\n"
    "key () { certtool --generate-privkey --key-type=ecdsa --outfile \"$1\" 2>/dev/null; }\n"
    "printf 'cn = test\\nca\\ncert_signing_key\\n' > ca.info\n"
    "key ca-key.pem; certtool --generate-self-signed --load-privkey ca-key.pem --template ca.info --outfile ca-cert.pem 2>/dev/null\n"
    "for who in server client; do\n"
    "  printf 'cn = localhost\\ndns_name = localhost\\nip_address = 127.0.0.1\\ntls_www_%s\\nsigning_key\\n' $who > $who.info\n"
    "  key $who-key.pem\n"
    "  certtool --generate-certificate --load-ca-certificate ca-cert.pem --load-ca-privkey ca-key.pem --load-privkey $who-key.pem"
    " --template $who.info --outfile $who-cert.pem 2>/dev/null\n"
    "done";

/* Without credentials the door is shut; with them the size can be read. */
static void
asks_for_credentials (const char *script, const char *kind, const char *host, const char *query, const char *file)
{
  Fixture f;
  set_up (&f, one, 1);
  run_in (f.folder, script);
  begin (&f, 1, 1, NULL, "tcp:127.0.0.1:0", f.folder);
  must (&f, work_export);
  ck_assert_str_eq (f.run->nbd_tls, kind);
  const char *port = strrchr (f.run->nbd_address, ':') + 1;
  g_autofree char *plain = uri_of (&f, "vda");
  g_autofree char *refused = g_strdup_printf ("! nbdinfo --size '%s' 2>/dev/null", plain);
  run_in (f.folder, refused);
  g_autofree char *uri = g_strconcat ("nbds://", host, ":", port, "/vda?", query, "=", f.folder, file, NULL);
  g_autofree char *accepted = g_strdup_printf ("test \"$(nbdinfo --size '%s')\" = %llu", uri, SIZE);
  run_in (f.folder, accepted);
  must (&f, work_release);
  assert_clean (&f);
  tear_down (&f);
}

START_TEST (keys_open_the_door)
{
  asks_for_credentials (psk_script, "psk", "reader@127.0.0.1", "tls-psk-file", "/keys.psk");
}
END_TEST

START_TEST (certificates_open_the_door)
{
  asks_for_credentials (x509_script, "x509", "localhost", "tls-certificates", "");
}
END_TEST

/* --- what cannot be --- */

static void
refuses (const char *listen, const char *tls, BkErrorCode code, const char *text)
{
  Fixture f;
  set_up (&f, one, 1);
  begin (&f, 1, 1, NULL, listen, tls ? f.folder : NULL);
  must_fail (&f, work_export, code, text);
  must (&f, work_release);
  assert_clean (&f);
  tear_down (&f);
}

START_TEST (says_what_is_wrong)
{
  refuses ("udp:127.0.0.1:1", NULL, BK_ERROR_INVALID, "write 'unix', or 'tcp:HOST:PORT'");
  refuses ("tcp:192.0.2.1:1", NULL, BK_ERROR_INVALID, "cannot listen on 'tcp:192.0.2.1:1'");
  refuses (NULL, "", BK_ERROR_INVALID, "it holds neither");
  Fixture f;
  set_up (&f, one, 1);
  begin (&f, 1, 1, NULL, "tcp:127.0.0.1:0", NULL);
  must (&f, work_export);
  refuses (f.run->nbd_address, NULL, BK_ERROR_CONFLICT, "Address already in use");
  must (&f, work_release);
  tear_down (&f);
}
END_TEST

START_TEST (refuses_folders_that_do_not_serve)
{
  Fixture f;
  set_up (&f, one, 1);
  begin (&f, 1, 1, NULL, NULL, NULL);
  g_free (f.run->export_folder);
  f.run->export_folder = g_strdup_printf ("%s/%0100d", f.folder, 0);
  must_fail (&f, work_export, BK_ERROR_INVALID, "use a folder with a shorter path");
  g_free (f.run->export_folder);
  f.run->export_folder = g_strdup (f.folder);
  const char *const chmod[] = { "chmod", "755", f.folder, NULL };
  bk_process_run (chmod);
  must_fail (&f, work_export, BK_ERROR_INVALID, "can be entered by others");
  must (&f, work_release);
  assert_clean (&f);
  tear_down (&f);
}
END_TEST

/* --- third parties who behave badly --- */

static pid_t
gateway_of (const Fixture *f)
{
  g_autofree char *pid_file = g_strdup_printf ("%s/%s-gw.pid", f->run->export_folder, f->run->prefix);
  pid_t pid = bk_pid_find ("qemu-storage-daemon", pid_file);
  ck_assert_int_gt (pid, 0);
  return pid;
}

/* He asks for 32 MiB and takes nothing. The guest can be reset and stopped, others read, another backup is made. */
START_TEST (a_stalled_third_party_hurts_nobody)
{
  Fixture f;
  set_up (&f, both_kinds, 2);
  bk_test_vm_write (f.vm, "vda", 1, 0, SIZE);
  bk_test_vm_write (f.vm, "vdb", 1, 0, SIZE);
  begin (&f, 1, 2, NULL, NULL, NULL);
  must (&f, work_export);
  g_autoptr (NbdHandle) stalled = stalled_reader (f.run->nbd_address, "vda");
  g_autoptr (NbdHandle) another = stalled_reader (f.run->nbd_address, "vdb");
  static const char *const drains[] = { "stop", "cont", "system_reset" };
  for (size_t i = 0; i < G_N_ELEMENTS (drains); i++) {
    g_autofree char *command = g_strdup_printf ("{\"execute\":\"%s\"}", drains[i]);
    g_free (bk_test_vm_execute (f.vm, command));
  }
  assert_vm_lives (&f);
  uint8_t sector[512];
  g_autoptr (NbdHandle) other = connect_nbd (f.run->nbd_address, "vda", NULL);
  ck_assert_int_eq (nbd_pread (other, sector, sizeof sector, 5 * MIB, 0), 0);
  ck_assert_uint_eq (sector[0], 1);
  must (&f, work_check);
  int64_t before = g_get_monotonic_time ();
  must (&f, work_release);
  ck_assert_int_lt (g_get_monotonic_time () - before, 5 * G_USEC_PER_SEC);
  assert_clean (&f);
  tear_down (&f);
}
END_TEST

/* Scratch is full: from the next check on he gets errors, and not what the guest has written. */
START_TEST (a_broken_snapshot_is_shown_no_longer)
{
  Fixture f;
  uint8_t sector[512];
  set_up (&f, both_kinds, 2);
  for (unsigned i = 0; i < 2; i++)
    bk_test_vm_write (f.vm, both_kinds[i].name, 1, 0, SIZE);
  for (unsigned i = 0; i < 2; i++) {
    g_clear_pointer (&f.run, bk_run_free);
    f.run = new_run (&f, i + 1, i, 1, NULL);
    f.run->export = true;
    if (!mount_small (&f))
      break;
    must (&f, work_snapshot);
    must (&f, work_export);
    g_autoptr (NbdHandle) nbd = connect_nbd (f.run->nbd_address, disk_of (&f, 0)->export_name, NULL);
    ck_assert_int_eq (nbd_pread (nbd, sector, sizeof sector, 20 * MIB, 0), 0);
    bk_test_vm_write (f.vm, disk_of (&f, 0)->name, 3, 16 * MIB, 8 * MIB);
    must (&f, work_check);
    ck_assert_str_eq (disk_of (&f, 0)->error->code, "no-space");
    ck_assert_int_eq (nbd_pread (nbd, sector, sizeof sector, 22 * MIB, 0), -1);
    must (&f, work_release);
    unmount_small (&f);
    assert_clean (&f);
  }
  tear_down (&f);
}
END_TEST

START_TEST (the_gateway_comes_back)
{
  static const char *const listens[] = { NULL, "tcp:127.0.0.1:0" };
  for (size_t i = 0; i < G_N_ELEMENTS (listens); i++) {
    Fixture f;
    set_up (&f, one, 1);
    bk_test_vm_write (f.vm, "vda", 1, 0, MIB);
    begin (&f, 1, 1, NULL, listens[i], NULL);
    must (&f, work_export);
    g_autofree char *address = g_strdup (f.run->nbd_address);
    pid_t before = gateway_of (&f);
    ck_assert_int_eq (kill (before, SIGKILL), 0);
    for (unsigned tries = 0; tries < 500 && !bk_pid_has_ended (before); tries++)
      g_usleep (10000);
    must (&f, work_check);
    ck_assert_int_ne (gateway_of (&f), before);
    ck_assert_str_eq (f.run->nbd_address, address);
    g_autofree uint8_t *expected = bk_test_vm_content (f.vm, "vda");
    g_autofree char *uri = uri_of (&f, "vda");
    must_copy (&f, uri, expected);
    must (&f, work_release);
    assert_clean (&f);
    tear_down (&f);
  }
}
END_TEST

/* It goes on without the daemon, and the next one ends it. */
START_TEST (an_export_outlives_the_daemon)
{
  Fixture f;
  set_up (&f, both_kinds, 2);
  begin (&f, 1, 2, NULL, NULL, NULL);
  must (&f, work_export);
  pid_t pid = gateway_of (&f);
  g_autoptr (NbdHandle) nbd = connect_nbd (f.run->nbd_address, "vdb", NULL);
  restart_daemon (&f);
  uint8_t sector[512];
  ck_assert_int_eq (nbd_pread (nbd, sector, sizeof sector, 0, 0), 0);
  must (&f, work_check);
  ck_assert_int_eq (gateway_of (&f), pid);
  must (&f, work_release);
  ck_assert (bk_pid_has_ended (pid));
  assert_clean (&f);
  tear_down (&f);
}
END_TEST

/* The VM has died: no answer, and no process is left behind. */
START_TEST (ends_with_the_vm)
{
  Fixture f;
  set_up (&f, both_kinds, 2);
  begin (&f, 1, 2, NULL, NULL, NULL);
  must (&f, work_export);
  pid_t pid = gateway_of (&f);
  bk_test_vm_stop (f.vm, false);
  must (&f, work_check);
  ck_assert_str_eq (disk_of (&f, 0)->state, "failed");
  ck_assert_str_eq (disk_of (&f, 1)->state, "failed");
  bk_worker_run (work_release, &f);
  bk_assert_error (f.error, BK_ERROR_UNREACHABLE);
  ck_assert (bk_pid_has_ended (pid));
  tear_down (&f);
}
END_TEST

int
main (void)
{
  const TTest *const tests[] = { third_parties_read_over_a_unix_socket,
                                 third_parties_read_over_tcp,
                                 third_parties_read_what_changed,
                                 keys_open_the_door,
                                 certificates_open_the_door,
                                 says_what_is_wrong,
                                 refuses_folders_that_do_not_serve,
                                 a_stalled_third_party_hurts_nobody,
                                 a_broken_snapshot_is_shown_no_longer,
                                 the_gateway_comes_back,
                                 an_export_outlives_the_daemon,
                                 ends_with_the_vm,
                                 NULL };
  return run_tests ("pull-export", tests);
}
