/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "rescue-scene.h"

#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

uint8_t *rescue_disk;

void
rescue_start (const char *passphrase)
{
  g_autoptr (GError) error = NULL;
  g_autoptr (GRand) rand = g_rand_new ();
  scene_start (passphrase);
  rescue_disk = scene_disk (rand, SIZE);
  for (size_t i = CHUNK * 7; i < CHUNK * 8; i++) /* never without random bytes */
    rescue_disk[i] = (uint8_t)g_rand_int (rand);
  ck_assert (scene_backup (BACKUP, NULL, rescue_disk, SIZE, NULL, &error));
  bk_assert_no_error (error);
}

void
rescue_stop (void)
{
  scene_stop ();
  g_clear_pointer (&rescue_disk, g_free);
}

int
rescue_run (const char *const *argv, char **out, char **err)
{
  g_autoptr (GError) error = NULL;
  int status = 0;
  gboolean ran = g_spawn_sync (NULL, (char **)argv, NULL, G_SPAWN_SEARCH_PATH, NULL, NULL, out, err, &status, &error);
  ck_assert_msg (ran, "%s: %s", argv[0], error ? error->message : "");
  return WIFEXITED (status) ? WEXITSTATUS (status) : -WTERMSIG (status);
}

int
rescue_call (char **out, char **err, ...)
{
  g_autoptr (GPtrArray) argv = g_ptr_array_new ();
  va_list words;
  va_start (words, err);
  g_ptr_array_add (argv, (char *)g_getenv ("BACKUP_RESCUE"));
  for (char *word = NULL; (word = va_arg (words, char *)) != NULL;)
    g_ptr_array_add (argv, word);
  va_end (words);
  g_ptr_array_add (argv, NULL);
  return rescue_run ((const char *const *)argv->pdata, out, err);
}

char *
rescue_path (const char *name)
{
  g_autofree char *folder = g_path_get_dirname (scene_root);
  return g_build_filename (folder, name, NULL);
}

void
rescue_check_file (const char *path, uint64_t offset, const uint8_t *wanted, size_t length)
{
  g_autofree uint8_t *found = g_malloc (length + 1);
  int fd = open (path, O_RDONLY | O_CLOEXEC);
  ck_assert_msg (fd >= 0, "%s is missing", path);
  ck_assert_int_eq (pread (fd, found, length, (off_t)offset), length);
  close (fd);
  ck_assert_msg (memcmp (found, wanted, length) == 0, "%s differs", path);
}

uint64_t
rescue_find_random (void)
{
  return 7 * CHUNK;
}

/* Random bytes are stored as they are, in some pack: found by their content, in a repository that is not encrypted. */
static bool
spoil_in_pack (const char *path, const uint8_t *wanted)
{
  g_autofree char *content = NULL;
  size_t length = 0;
  ck_assert (g_file_get_contents (path, &content, &length, NULL));
  char *place = memmem (content, length, wanted, 4096);
  if (place == NULL)
    return false;
  char wrong = (char)~place[100];
  int fd = open (path, O_WRONLY | O_CLOEXEC);
  ck_assert_int_ge (fd, 0);
  ck_assert_int_eq (pwrite (fd, &wrong, 1, place - content + 100), 1);
  close (fd);
  return true;
}

void
rescue_spoil_chunk (uint64_t offset)
{
  bool found = false;
  g_autoptr (GPtrArray) packs = scene_files ("packs", false);
  for (unsigned i = 0; i < packs->len; i++) {
    chmod (packs->pdata[i], 0600);
    found = spoil_in_pack (packs->pdata[i], rescue_disk + offset) || found;
  }
  ck_assert_msg (found, "no pack has the chunk");
}
