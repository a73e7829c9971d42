/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "scene.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static char *folder;
static GByteArray *model;

static char *
in_folder (const char *name)
{
  return g_build_filename (folder, name, NULL);
}

static void
start (void)
{
  folder = bk_suite_folder ();
  model = g_byte_array_new ();
}

/* (transfer full) path of an image of @size bytes, filled by @writes, as is the model. */
static char *
make_image (const char *name, uint64_t size, const char *backing, const char *const *writes)
{
  g_autoptr (GError) error = NULL;
  char *path = in_folder (name);
  bool ok = bk_image_create (path, "qcow2", size, backing, false, &error);
  bk_assert_no_error (error);
  ck_assert (ok);
  guint before = model->len;
  g_byte_array_set_size (model, (guint)size);
  if (size > before)
    memset (model->data + before, 0, size - before);
  scene_write (path, model, writes);
  return path;
}

static unsigned
mode_of (const char *path)
{
  struct stat st;
  ck_assert_int_eq (stat (path, &st), 0);
  return st.st_mode & 0777;
}

START_TEST (creates)
{
  start ();
  g_autoptr (GError) error = NULL;
  g_autofree char *path = in_folder ("nbd:a, b.qcow2");
  ck_assert (bk_image_create (path, "qcow2", 3 * MIB, "../none/x.qcow2", false, &error));
  ck_assert_uint_eq (mode_of (path), 0600);
  g_autoptr (BkImageInfo) info = bk_image_info (path, NULL, &error);
  bk_assert_no_error (error);
  g_autofree char *parent = g_path_get_dirname (folder);
  g_autofree char *backing = g_build_filename (parent, "none/x.qcow2", NULL);
  ck_assert_str_eq (info->format, "qcow2");
  ck_assert_uint_eq (info->virtual_size, 3 * MIB);
  ck_assert_str_eq (info->backing, backing);
  g_autofree char *text = scene_run ("qemu-img", "info", "--output=json", "-f", "qcow2", path, NULL);
  ck_assert_ptr_nonnull (strstr (text, "\"compat\": \"1.1\""));
  ck_assert_ptr_nonnull (strstr (text, "\"cluster-size\": 65536"));
  ck_assert_ptr_nonnull (strstr (text, "\"lazy-refcounts\": false"));
  ck_assert_ptr_nonnull (strstr (text, "\"backing-filename\": \"../none/x.qcow2\""));
}
END_TEST

START_TEST (replaces_only_with_force)
{
  start ();
  g_autoptr (GError) error = NULL;
  g_autofree char *path = in_folder ("a");
  ck_assert (g_file_set_contents (path, "old", -1, NULL));
  ck_assert (!bk_image_create (path, "raw", MIB, NULL, false, &error));
  bk_assert_error (error, BK_ERROR_CONFLICT);
  ck_assert (bk_image_create (path, "raw", MIB, NULL, true, &error));
  struct stat st;
  ck_assert_int_eq (stat (path, &st), 0);
  ck_assert_int_eq (st.st_size, MIB);
  ck_assert_uint_eq (st.st_mode & 0777, 0600);
  ck_assert (!bk_image_create (folder, "raw", MIB, NULL, true, &error));
  bk_assert_error (error, BK_ERROR_CONFLICT);
}
END_TEST

START_TEST (does_not_probe_what_a_guest_wrote)
{
  start ();
  g_autoptr (GError) error = NULL;
  g_autofree char *evil = make_image ("evil.qcow2", MIB, "/etc/passwd", (const char *[]){ NULL });
  g_autoptr (BkImageInfo) raw = bk_image_info (evil, "raw", &error);
  bk_assert_no_error (error);
  ck_assert_ptr_null (raw->backing);
  ck_assert_uint_ne (raw->virtual_size, MIB);
  g_autoptr (BkImageInfo) probed = bk_image_info (evil, NULL, &error);
  ck_assert_str_eq (probed->backing, "/etc/passwd");
}
END_TEST

START_TEST (tells_what_is_wrong)
{
  start ();
  g_autoptr (GError) error = NULL;
  g_autofree char *none = in_folder ("none");
  g_autofree char *text = in_folder ("text");
  ck_assert_ptr_null (bk_image_info (none, "qcow2", &error));
  ck_assert_ptr_nonnull (strstr (error->message, none));
  bk_assert_error (error, BK_ERROR_NOT_FOUND);
  ck_assert (g_file_set_contents (text, "no image", -1, NULL));
  ck_assert_ptr_null (bk_image_info (text, "qcow2", &error));
  bk_assert_error (error, BK_ERROR_CORRUPT);
  ck_assert (!bk_image_check (text, "qcow2", &error));
  bk_assert_error (error, BK_ERROR_CORRUPT);
  g_setenv ("BACKUPD_QEMU_IMG", "/none/qemu-img", TRUE);
  ck_assert_ptr_null (bk_image_info (text, "raw", &error));
  ck_assert_ptr_nonnull (strstr (error->message, "BACKUPD_QEMU_IMG"));
  bk_assert_error (error, BK_ERROR_FAILED);
}
END_TEST

/* A program in place of qemu-img that says @script. */
static void
replace_qemu_img (const char *script)
{
  g_autofree char *program = in_folder ("qemu-img.sh");
  g_autofree char *text = g_strconcat ("#!/bin/sh\n", script, "\n", NULL);
  ck_assert (g_file_set_contents (program, text, -1, NULL));
  ck_assert_int_eq (chmod (program, 0700), 0);
  g_setenv ("BACKUPD_QEMU_IMG", program, TRUE);
}

START_TEST (translates_messages)
{
  static const struct {
    const char *script;
    BkErrorCode code;
    const char *message;
  } rows[] = {
    { "echo 'qemu-img: x: No space left on device' >&2; exit 1", BK_ERROR_NO_SPACE, "x: No space left on device" },
    { "printf 'first\\nqemu-img: Failed to get \"write\" lock\\n\\n' >&2; exit 1", BK_ERROR_CONFLICT, "write" },
    { "yes | head -c 1000000 >&2; echo end >&2; exit 1", BK_ERROR_FAILED, "qemu-img info: end" },
    { "exit 3", BK_ERROR_FAILED, "exit status 3" },
    { "kill -9 $$", BK_ERROR_FAILED, "signal 9" },
    { "echo garbage", BK_ERROR_FAILED, "no answer" },
    { "echo '[]'", BK_ERROR_FAILED, "no answer" },
    { "test \"$LC_ALL\" = C || exit 0; cat; echo 'Connection refused' >&2; exit 1", BK_ERROR_UNREACHABLE, "refused" },
  };
  start ();
  for (size_t i = 0; i < G_N_ELEMENTS (rows); i++) {
    g_autoptr (GError) error = NULL;
    replace_qemu_img (rows[i].script);
    ck_assert_ptr_null (bk_image_info ("/x", "raw", &error));
    ck_assert_msg (strstr (error->message, rows[i].message) != NULL, "%s: %s", rows[i].script, error->message);
    ck_assert_msg (g_error_matches (error, BK_ERROR, (int)rows[i].code), "%s: %s", rows[i].script, error->message);
  }
}
END_TEST

START_TEST (measures_one_layer)
{
  start ();
  g_autoptr (GError) error = NULL;
  g_autofree char *path =
      make_image ("a.qcow2", 8 * MIB, "missing.qcow2", (const char *[]){ NULL });
  uint64_t data = 1, zero = 1;
  ck_assert (bk_image_measure (path, &data, &zero, &error));
  ck_assert_uint_eq (data, 0);
  ck_assert_uint_eq (zero, 0);
  g_autofree char *full = make_image ("f.qcow2", 8 * MIB, NULL, (const char *[]){ "1 0 8M", NULL });
  g_autofree char *top = make_image ("t.qcow2", 8 * MIB, "f.qcow2", (const char *[]){ "1 1M 192K", "z 3M 1M", NULL });
  ck_assert (bk_image_measure (top, &data, &zero, &error));
  ck_assert_uint_eq (data, 192 * 1024);
  ck_assert_uint_eq (zero, MIB);
}
END_TEST

START_TEST (finds_damage)
{
  start ();
  g_autoptr (GError) error = NULL;
  g_autofree char *path = make_image ("a.qcow2", 8 * MIB, NULL, (const char *[]){ "1 0 1M", NULL });
  ck_assert (bk_image_check (path, "qcow2", &error));
  ck_assert (bk_image_check (path, "raw", &error));
  int fd = open (path, O_WRONLY | O_CLOEXEC);
  static const char zeroes[65536] = { 0 };
  ck_assert_int_eq (pwrite (fd, zeroes, sizeof zeroes, 2 * 65536), sizeof zeroes); /* the refcounts */
  close (fd);
  ck_assert (!bk_image_check (path, "qcow2", &error));
  bk_assert_error (error, BK_ERROR_CORRUPT);
}
END_TEST

static void
remember (uint64_t done, uint64_t total, gpointer user_data)
{
  uint64_t *last = user_data;
  ck_assert_uint_ge (done, *last);
  ck_assert_uint_le (done, total);
  *last = done;
}

static char *
make_chain (void)
{
  g_free (make_image ("base.qcow2", 8 * MIB, NULL, (const char *[]){ "1 0 4M", NULL }));
  return make_image ("top.qcow2", 8 * MIB + 512, "base.qcow2", (const char *[]){ "z 1M 1M", "2 8M 512", NULL });
}

START_TEST (converts_to_files)
{
  start ();
  g_autofree char *source = make_chain ();
  for (int i = 0; i < 2; i++) {
    g_autoptr (GError) error = NULL;
    const char *format = bk_formats[i];
    g_autofree char *output = in_folder (format);
    g_autofree char *temporary = in_folder (".temporary");
    ck_assert (g_file_set_contents (temporary, "of a crash", -1, NULL));
    uint64_t last = 0;
    bool ok = bk_image_convert (source, output, temporary, format, false, 0, remember, &last, NULL, &error);
    bk_assert_no_error (error);
    ck_assert (ok);
    ck_assert_uint_eq (last, 8 * MIB + 512);
    ck_assert_uint_eq (mode_of (output), 0600);
    ck_assert (!g_file_test (temporary, G_FILE_TEST_EXISTS));
    scene_assert_content (output, format, model);
    struct stat st;
    ck_assert_int_eq (stat (output, &st), 0);
    ck_assert_int_lt (st.st_blocks * 512, 4 * MIB); /* sparse */
    ck_assert (!bk_image_convert (source, output, temporary, format, false, 0, NULL, NULL, NULL, &error));
    bk_assert_error (error, BK_ERROR_CONFLICT);
    ck_assert (bk_image_convert (source, output, temporary, format, true, 0, NULL, NULL, NULL, &error));
  }
}
END_TEST

/* Somebody else's file that appears while the copy runs is not replaced. */
static void
make_file_once (uint64_t done G_GNUC_UNUSED, uint64_t total G_GNUC_UNUSED, gpointer user_data)
{
  ck_assert (g_file_set_contents (user_data, "theirs", -1, NULL));
}

START_TEST (replaces_no_file_that_came_meanwhile)
{
  start ();
  g_autoptr (GError) error = NULL;
  g_autofree char *source = make_chain ();
  g_autofree char *output = in_folder ("out.raw");
  g_autofree char *temporary = in_folder (".temporary");
  ck_assert (!bk_image_convert (source, output, temporary, "raw", false, 0, make_file_once, output, NULL, &error));
  bk_assert_error (error, BK_ERROR_CONFLICT);
  ck_assert (!g_file_test (temporary, G_FILE_TEST_EXISTS));
  g_autofree char *text = NULL;
  ck_assert (g_file_get_contents (output, &text, NULL, NULL));
  ck_assert_str_eq (text, "theirs");
}
END_TEST

START_TEST (leaves_nothing_on_failure)
{
  start ();
  g_autoptr (GError) error = NULL;
  g_autofree char *source = make_chain ();
  g_autofree char *base = in_folder ("base.qcow2");
  g_autofree char *output = in_folder ("out.raw");
  g_autofree char *temporary = in_folder (".temporary");
  ck_assert_int_eq (unlink (base), 0);
  ck_assert (!bk_image_convert (source, output, temporary, "raw", false, 0, NULL, NULL, NULL, &error));
  bk_assert_error (error, BK_ERROR_NOT_FOUND);
  ck_assert (!g_file_test (temporary, G_FILE_TEST_EXISTS));
  ck_assert (!g_file_test (output, G_FILE_TEST_EXISTS));
}
END_TEST

static void
fill_with_garbage (const char *path, size_t size)
{
  g_autofree char *garbage = g_strnfill (size, 'G');
  ck_assert (g_file_set_contents (path, garbage, (gssize)size, NULL));
}

static pid_t
spawn (char **argv)
{
  pid_t pid = fork ();
  if (pid == 0) {
    prctl (PR_SET_PDEATHSIG, SIGKILL);
    execvp (argv[0], argv);
    _exit (127);
  }
  return pid;
}

static void
await_file (const char *path)
{
  for (int i = 0; i < 1000 && !g_file_test (path, G_FILE_TEST_EXISTS); i++)
    g_usleep (10000);
  ck_assert_msg (g_file_test (path, G_FILE_TEST_EXISTS), "no '%s' in 10 s", path);
}

START_TEST (writes_zeroes_to_nbd)
{
  start ();
  g_autoptr (GError) error = NULL;
  g_autofree char *source = make_chain ();
  g_autofree char *old = in_folder ("old.raw");
  g_autofree char *socket = in_folder ("socket");
  g_autofree char *uri = g_strdup_printf ("nbd+unix:///?socket=%s", socket);
  fill_with_garbage (old, 8 * MIB + 512);
  char *const argv[] = { (char *)"nbdkit", (char *)"-f", (char *)"-U", socket, (char *)"file", old, NULL };
  pid_t server = spawn ((char **)argv);
  await_file (socket);
  uint64_t last = 0;
  bool ok = bk_image_convert (source, uri, NULL, "raw", false, 0, remember, &last, NULL, &error);
  kill (server, SIGTERM);
  ck_assert_int_eq (waitpid (server, NULL, 0), server);
  bk_assert_no_error (error);
  ck_assert (ok);
  ck_assert_uint_eq (last, 8 * MIB + 512);
  scene_assert_content (old, "raw", model);
  ck_assert (!bk_image_convert (source, uri, NULL, "raw", false, 0, NULL, NULL, NULL, &error));
  bk_assert_error (error, BK_ERROR_UNREACHABLE);
}
END_TEST

static char *device;

static void
release_device (void)
{
  if (device != NULL)
    g_free (scene_run ("losetup", "-d", device, NULL));
  g_clear_pointer (&device, g_free);
}

/* TRUE when there are loop devices for us. */
static bool
make_device (const char *file)
{
  g_autofree char *command = g_strdup_printf ("losetup -f --show '%s' 2>/dev/null || true", file);
  g_autofree char *output = scene_run ("sh", "-c", command, NULL);
  device = g_strdup (g_strstrip (output));
  return device[0] == '/';
}

START_TEST (writes_zeroes_to_devices)
{
  start ();
  g_autoptr (GError) error = NULL;
  g_autofree char *source = make_chain ();
  g_autofree char *old = in_folder ("old.raw");
  fill_with_garbage (old, 9 * MIB);
  if (!make_device (old)) {
    fprintf (stderr, "no loop device can be had: not tested\n");
    return;
  }
  atexit (release_device);
  bool ok = bk_image_convert (source, device, NULL, "raw", false, 0, NULL, NULL, NULL, &error);
  bk_assert_no_error (error);
  ck_assert (ok);
  ck_assert (bk_image_create (device, "raw", 9 * MIB, NULL, false, &error));
  ck_assert (!bk_output_check (device, "raw", 9 * MIB + 1, false, &error));
  bk_assert_error (error, BK_ERROR_NO_SPACE);
  ck_assert (!bk_output_check (device, "qcow2", MIB, false, &error));
  bk_assert_error (error, BK_ERROR_INVALID);
  int held = open (device, O_RDONLY | O_EXCL | O_CLOEXEC); /* as a mount would */
  ck_assert_int_ge (held, 0);
  ck_assert (!bk_output_check (device, "raw", MIB, false, &error));
  bk_assert_error (error, BK_ERROR_CONFLICT);
  close (held);
  release_device ();
  ck_assert_int_eq (truncate (old, 8 * MIB + 512), 0);
  scene_assert_content (old, "raw", model);
}
END_TEST

typedef struct {
  char *source, *output, *temporary;
  GCancellable *cancellable;
  GError *error;
  gint64 ended;
  int done; /* atomic; bytes */
} Slow;

static void
note_progress (uint64_t done, uint64_t total G_GNUC_UNUSED, gpointer user_data)
{
  g_atomic_int_set (&((Slow *)user_data)->done, (int)done);
}

static gpointer
convert_slowly (gpointer data)
{
  Slow *slow = data;
  gboolean ok = bk_image_convert (slow->source, slow->output, slow->temporary, "raw", false, 2 * MIB, note_progress, slow,
                                  slow->cancellable, &slow->error);
  slow->ended = g_get_monotonic_time ();
  return GINT_TO_POINTER (ok);
}

static GThread *
start_slowly (Slow *slow)
{
  start ();
  slow->source = make_image ("a.qcow2", 64 * MIB, NULL, (const char *[]){ "1 0 64M", NULL });
  slow->output = in_folder ("out.raw");
  slow->temporary = in_folder (".temporary");
  slow->cancellable = g_cancellable_new ();
  GThread *thread = g_thread_new ("slow", convert_slowly, slow);
  for (int i = 0; i < 3000 && g_atomic_int_get (&slow->done) == 0; i++)
    g_usleep (10000);
  return thread;
}

static void
slow_clear (Slow *slow)
{
  g_free (slow->source);
  g_free (slow->output);
  g_free (slow->temporary);
  g_object_unref (slow->cancellable);
  g_clear_error (&slow->error);
}

START_TEST (can_be_cancelled)
{
  Slow slow = { 0 };
  GThread *thread = start_slowly (&slow);
  gint64 before = g_get_monotonic_time ();
  g_cancellable_cancel (slow.cancellable);
  ck_assert_ptr_null (g_thread_join (thread));
  ck_assert_int_lt (slow.ended - before, 20 * G_USEC_PER_SEC); /* the copy takes 32 s */
  bk_assert_error (slow.error, BK_ERROR_CANCELLED);
  ck_assert (!g_file_test (slow.temporary, G_FILE_TEST_EXISTS));
  ck_assert (!g_file_test (slow.output, G_FILE_TEST_EXISTS));
  slow_clear (&slow);
}
END_TEST

START_TEST (can_be_paused)
{
  Slow slow = { 0 };
  GThread *thread = start_slowly (&slow);
  bk_image_pause (slow.cancellable, true);
  g_usleep (500000);
  int stopped = g_atomic_int_get (&slow.done);
  g_usleep (1500000);
  ck_assert_int_eq (g_atomic_int_get (&slow.done), stopped);
  bk_image_pause (slow.cancellable, false);
  for (int i = 0; i < 1000 && g_atomic_int_get (&slow.done) == stopped; i++)
    g_usleep (10000);
  ck_assert_int_gt (g_atomic_int_get (&slow.done), stopped);
  bk_image_pause (slow.cancellable, true);
  g_cancellable_cancel (slow.cancellable); /* also ends one that is stopped */
  ck_assert_ptr_null (g_thread_join (thread));
  bk_assert_error (slow.error, BK_ERROR_CANCELLED);
  slow_clear (&slow);
}
END_TEST

START_TEST (kills_who_does_not_listen)
{
  start ();
  g_autoptr (GError) error = NULL;
  g_autoptr (GCancellable) cancellable = g_cancellable_new ();
  Slow slow = { 0 };
  slow.source = make_image ("a.qcow2", MIB, NULL, (const char *[]){ NULL });
  slow.output = in_folder ("out.raw");
  slow.temporary = in_folder (".temporary");
  slow.cancellable = g_object_ref (cancellable);
  replace_qemu_img ("case $1 in convert) trap '' TERM; echo '(1.00/100%)'; while :; do sleep 30; done;; esac\n"
                    "exec qemu-img \"$@\"");
  GThread *thread = g_thread_new ("slow", convert_slowly, &slow);
  for (int i = 0; i < 3000 && g_atomic_int_get (&slow.done) == 0; i++)
    g_usleep (10000);
  gint64 before = g_get_monotonic_time ();
  g_cancellable_cancel (cancellable);
  ck_assert_ptr_null (g_thread_join (thread));
  ck_assert_int_ge (slow.ended - before, 2 * G_USEC_PER_SEC - 100000);
  ck_assert_int_lt (slow.ended - before, 15 * G_USEC_PER_SEC);
  bk_assert_error (slow.error, BK_ERROR_CANCELLED);
  slow_clear (&slow);
}
END_TEST

START_TEST (dies_with_the_daemon)
{
  start ();
  g_autofree char *pid_file = in_folder ("pid");
  g_autofree char *script = g_strdup_printf ("echo $$ > '%s.new'; mv '%s.new' '%s'; exec sleep 60", pid_file, pid_file,
                                             pid_file);
  g_autofree char *text = NULL;
  replace_qemu_img (script);
  pid_t daemon = fork ();
  if (daemon == 0) {
    prctl (PR_SET_PDEATHSIG, SIGKILL);
    _exit (bk_image_check ("/x", "raw", NULL));
  }
  await_file (pid_file);
  ck_assert (g_file_get_contents (pid_file, &text, NULL, NULL));
  kill (daemon, SIGKILL);
  ck_assert_int_eq (waitpid (daemon, NULL, 0), daemon);
  pid_t child = atoi (text);
  ck_assert_int_gt (child, 1);
  g_autofree char *state = g_strdup_printf ("/proc/%d/cmdline", child);
  g_autofree char *line = NULL;
  for (int i = 0; i < 1000 && kill (child, 0) == 0; i++) {
    g_clear_pointer (&line, g_free);
    if (g_file_get_contents (state, &line, NULL, NULL) && line[0] == '\0')
      return; /* a zombie that nobody reaps has ended too */
    g_usleep (10000);
  }
  ck_assert_int_ne (kill (child, 0), 0);
}
END_TEST

int
main (void)
{
  const TTest *const tests[] = { creates,
                                 replaces_only_with_force,
                                 does_not_probe_what_a_guest_wrote,
                                 tells_what_is_wrong,
                                 translates_messages,
                                 measures_one_layer,
                                 finds_damage,
                                 converts_to_files,
                                 replaces_no_file_that_came_meanwhile,
                                 leaves_nothing_on_failure,
                                 writes_zeroes_to_nbd,
                                 writes_zeroes_to_devices,
                                 can_be_cancelled,
                                 can_be_paused,
                                 kills_who_does_not_listen,
                                 dies_with_the_daemon,
                                 NULL };
  return bk_suite_run ("image", tests);
}
