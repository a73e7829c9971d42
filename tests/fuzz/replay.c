/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Runs a fuzz target on each file of the folders given, instead of libFuzzer.
 */
#include "fuzz.h"

#include <glib.h>
#include <stdlib.h>

/* Returns the number of files. */
static unsigned
replay_folder (const char *path)
{
  g_autoptr (GError) error = NULL;
  g_autoptr (GDir) folder = g_dir_open (path, 0, &error);
  if (folder == NULL)
    g_error ("%s", error->message);
  unsigned count = 0;
  for (const char *name = g_dir_read_name (folder); name; name = g_dir_read_name (folder)) {
    g_autofree char *file = g_build_filename (path, name, NULL);
    g_autofree char *text = NULL;
    gsize length = 0;
    if (!g_file_get_contents (file, &text, &length, &error))
      g_error ("%s", error->message);
    /* A copy of just that size: what reads past the end is seen. */
    g_autofree uint8_t *data = g_memdup2 (text, length);
    g_print ("%s\n", name);
    LLVMFuzzerTestOneInput (data, length);
    count++;
  }
  return count;
}

int
main (int argc, char **argv)
{
  unsigned count = 0;
  for (int i = 1; i < argc; i++)
    count += replay_folder (argv[i]);
  if (count > 0)
    return EXIT_SUCCESS;
  g_printerr ("no input: name a folder with files\n");
  return EXIT_FAILURE;
}
