from busaug.cli.app import main

main()
