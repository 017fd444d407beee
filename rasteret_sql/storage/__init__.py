"""The one seam for bytes: hrefs and ranges in, validated bytes out. The only package that awaits.

``loop`` runs the coroutines, ``store`` is what readers use; below it ``hrefs`` says where a file lies, ``ranges`` what is fetched together,
``http`` (``network``, ``answers``, ``retry``) and ``local`` fetch it, ``objects`` are handled whole, ``metrics`` counts. ``access`` chooses whose
rules apply: ``routes`` (the web), ``s3`` (``sigv4``, ``aws``), ``azure`` (``sas``), with what ``credentials`` was given.
"""
