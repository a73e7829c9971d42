/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "process.h"
#include "serve-registry.h"
#include "suite.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define BACKUP "01BACKUP"
#define SIZE (3u * 1024 * 1024)

typedef struct {
  char *folder, *image, *raw;
  BkCatalog *catalog;
  BkRepositoryRegistry *repositories;
  BkEventRing *events;
  BkServeRegistry *serves;
} Bench;

/* An image with known content, and the row of a backup that has it. */
static void
make_backup (Bench *bench)
{
  g_autoptr (GError) error = NULL;
  const char *const make[] = { "qemu-img", "create", "-q", "-f", "qcow2", bench->image, "3M", NULL };
  const char *const fill[] = { "qemu-io", "-c", "write -P 0x5a 64k 1M", "-c", "write -P 0x17 2M 512", bench->image, NULL };
  const char *const flat[] = { "qemu-img", "convert", "-O", "raw", bench->image, bench->raw, NULL };
  bk_process_run (make);
  bk_process_run (fill);
  bk_process_run (flat);
  BkBackupDisk disk = { .name = (char *)"vda", .level = (char *)"full", .state = (char *)"completed", .file = bench->image, .format = (char *)"qcow2", .size = SIZE };
  g_autoptr (GPtrArray) disks = g_ptr_array_new ();
  g_ptr_array_add (disks, &disk);
  const BkBackupInfo backup = { .version = 1, .id = (char *)BACKUP, .vm = (char *)"web01", .repository = (char *)"default", .location = bench->folder,
                                .state = (char *)"completed", .mode = (char *)"push", .point_in_time = 1795402320LL * G_USEC_PER_SEC, .size = SIZE, .disks = disks };
  ck_assert (bk_catalog_put_backup (bench->catalog, &backup, &error));
  bk_assert_no_error (error);
}

static Bench *
bench_in (char *folder)
{
  g_autoptr (GError) error = NULL;
  Bench *bench = g_new0 (Bench, 1);
  bench->folder = folder;
  bench->image = g_build_filename (bench->folder, "a, comma.qcow2", NULL);
  bench->raw = g_build_filename (bench->folder, "wanted.raw", NULL);
  g_autofree char *sockets = g_build_filename (bench->folder, "serve", NULL);
  bench->catalog = bk_catalog_open (bench->folder, &error);
  bk_assert_no_error (error);
  bench->repositories = bk_repository_registry_new (bench->catalog);
  ck_assert (bk_repository_registry_load (bench->repositories, bench->folder, &error));
  bench->events = bk_event_ring_new (64);
  bench->serves = bk_serve_registry_new (bench->catalog, bench->repositories, bench->events, sockets);
  make_backup (bench);
  return bench;
}

static Bench *
bench_new (void)
{
  return bench_in (bk_suite_folder ());
}

static void
bench_free (Bench *bench)
{
  g_clear_pointer (&bench->serves, bk_serve_registry_free);
  bk_event_ring_free (bench->events);
  bk_repository_registry_free (bench->repositories);
  bk_catalog_close (bench->catalog);
  g_free (bench->raw);
  g_free (bench->image);
  g_free (bench->folder);
  g_free (bench);
}

static void
on_result (GObject *source G_GNUC_UNUSED, GAsyncResult *result, gpointer user_data)
{
  *(GAsyncResult **)user_data = g_object_ref (result);
}

static BkServeInfo *
serve (Bench *bench, const char *backup, const char *disk, const char *listen, GError **error)
{
  const BkServeRequest request = { (char *)backup, (char *)disk, (char *)listen };
  g_autoptr (GAsyncResult) result = NULL;
  bk_serve_registry_start_async (bench->serves, &request, on_result, &result);
  while (result == NULL)
    g_main_context_iteration (NULL, TRUE);
  return bk_serve_registry_start_finish (bench->serves, result, error);
}

static BkServeInfo *
serve_well (Bench *bench, const char *listen)
{
  g_autoptr (GError) error = NULL;
  BkServeInfo *info = serve (bench, "01B", "vda", listen, &error);
  bk_assert_no_error (error);
  ck_assert_str_eq (info->backup, BACKUP);
  ck_assert_uint_eq (info->size, SIZE);
  return info;
}

static void
check_content (Bench *bench, const char *uri)
{
  const char *const compare[] = { "qemu-img", "compare", "-f", "raw", "-F", "raw", uri, bench->raw, NULL };
  bk_process_run (compare);
}

static unsigned
count (Bench *bench)
{
  g_autoptr (GPtrArray) list = bk_serve_registry_list (bench->serves);
  return list->len;
}

/* The first child of this process; 0 = none. */
static pid_t
find_server (void)
{
  g_autofree char *path = g_strdup_printf ("/proc/self/task/%d/children", getpid ());
  g_autofree char *text = NULL;
  ck_assert (g_file_get_contents (path, &text, NULL, NULL));
  return (pid_t)g_ascii_strtoll (text, NULL, 10);
}

START_TEST (two_serves_of_one_backup)
{
  Bench *bench = bench_new ();
  g_autoptr (GError) error = NULL;
  gint64 began = g_get_monotonic_time ();
  g_autoptr (BkServeInfo) local = serve_well (bench, NULL);
  printf ("ready after %.3f s\n", (double)(g_get_monotonic_time () - began) / G_USEC_PER_SEC);
  g_autoptr (BkServeInfo) tcp = serve_well (bench, "tcp:127.0.0.1:0");
  ck_assert (g_str_has_prefix (local->uri, "nbd+unix:///?socket=") && g_str_has_prefix (tcp->uri, "nbd://127.0.0.1:"));
  check_content (bench, local->uri);
  check_content (bench, tcp->uri);
  check_content (bench, local->uri); /* it outlives its first client */
  ck_assert_uint_eq (count (bench), 2);
  ck_assert (bk_serve_registry_has_backup (bench->serves, BACKUP));
  ck_assert_uint_eq (bk_event_ring_last (bench->events), 2);
  ck_assert (bk_serve_registry_stop (bench->serves, local->id, &error));
  check_content (bench, tcp->uri);
  ck_assert (bk_serve_registry_get (bench->serves, local->id, &error) == NULL);
  bk_assert_error (error, BK_ERROR_NOT_FOUND);
  ck_assert (!g_file_test (local->uri + strlen ("nbd+unix:///?socket="), G_FILE_TEST_EXISTS));
  ck_assert (bk_serve_registry_stop (bench->serves, tcp->id, &error));
  ck_assert (!bk_serve_registry_has_backup (bench->serves, BACKUP));
  ck_assert_int_eq (find_server (), 0);
  bench_free (bench);
}
END_TEST

static void
refused (Bench *bench, const char *backup, const char *disk, const char *listen, BkErrorCode code, const char *words)
{
  g_autoptr (GError) error = NULL;
  ck_assert (serve (bench, backup, disk, listen, &error) == NULL);
  ck_assert_msg (strstr (error->message, words) != NULL, "%s", error->message);
  bk_assert_error (error, (int)code);
  ck_assert_uint_eq (count (bench), 0);
  ck_assert_int_eq (find_server (), 0);
}

START_TEST (says_what_is_wrong)
{
  Bench *bench = bench_new ();
  refused (bench, "02", "vda", NULL, BK_ERROR_NOT_FOUND, "02");
  refused (bench, BACKUP, "vdx", NULL, BK_ERROR_NOT_FOUND, "it has vda");
  refused (bench, BACKUP, "vda", "tcp:192.0.2.1:0", BK_ERROR_INVALID, "127.0.0.1");
  refused (bench, BACKUP, "vda", "tcp:0.0.0.0:0", BK_ERROR_INVALID, "127.0.0.1");
  refused (bench, BACKUP, "vda", "tcp:127.0.0.1:99999", BK_ERROR_INVALID, "tcp:HOST:PORT");
  refused (bench, BACKUP, "vda", "tcp:", BK_ERROR_INVALID, "tcp:HOST:PORT");
  ck_assert_int_eq (unlink (bench->image), 0);
  refused (bench, BACKUP, "vda", NULL, BK_ERROR_FAILED, "No such file");
  bench_free (bench);
}
END_TEST

START_TEST (a_port_is_taken)
{
  Bench *bench = bench_new ();
  g_autoptr (GError) error = NULL;
  g_autoptr (BkServeInfo) first = serve_well (bench, "tcp:[::1]:0");
  g_autofree char *listen = g_strconcat ("tcp:", first->uri + strlen ("nbd://"), NULL);
  ck_assert (serve (bench, BACKUP, "vda", listen, &error) == NULL);
  bk_assert_error (error, BK_ERROR_CONFLICT);
  check_content (bench, first->uri);
  bench_free (bench);
}
END_TEST

START_TEST (tells_when_one_dies)
{
  Bench *bench = bench_new ();
  g_autoptr (BkServeInfo) info = serve_well (bench, NULL);
  pid_t server = find_server ();
  ck_assert_int_gt (server, 0);
  ck_assert_int_eq (kill (server, SIGKILL), 0);
  while (count (bench) > 0)
    g_main_context_iteration (NULL, TRUE);
  const BkEvent *event = bk_event_ring_next (bench->events, 1, NULL);
  ck_assert (event != NULL && strcmp (event->type, "serve") == 0);
  ck_assert (!bk_serve_registry_has_backup (bench->serves, BACKUP));
  bench_free (bench);
}
END_TEST

/* A daemon that is killed leaves no server behind. */
START_TEST (ends_with_its_parent)
{
  int pipe_fds[2];
  pid_t server = 0;
  g_autofree char *folder = bk_suite_folder ();
  ck_assert_int_eq (pipe (pipe_fds), 0);
  pid_t daemon = fork ();
  if (daemon == 0) {
    Bench *bench = bench_in (g_strdup (folder));
    g_autoptr (BkServeInfo) info = serve_well (bench, NULL);
    server = find_server ();
    ssize_t written = write (pipe_fds[1], &server, sizeof server);
    kill (getpid (), written > 0 ? SIGKILL : SIGTERM);
  }
  ck_assert_int_eq (read (pipe_fds[0], &server, sizeof server), sizeof server);
  ck_assert_int_gt (server, 0);
  ck_assert_int_eq (waitpid (daemon, NULL, 0), daemon);
  for (unsigned i = 0; i < 200 && kill (server, 0) == 0; i++)
    g_usleep (50000);
  ck_assert (kill (server, 0) < 0 && errno == ESRCH);
}
END_TEST

int
main (void)
{
  const TTest *const tests[] = { two_serves_of_one_backup, says_what_is_wrong, a_port_is_taken, tells_when_one_dies, ends_with_its_parent, NULL };
  return bk_suite_run ("serve", tests);
}
